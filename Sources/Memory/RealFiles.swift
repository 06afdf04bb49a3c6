import Foundation

/// The operations on the real file system.
package struct RealFiles: FileOperations {
  package init() {}

  package func create(_ path: String) throws(MemoryError) -> OpenFile {
    try OpenFile(
      number: check("create", path) { unsafe Foundation.open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644) },
      path: path)
  }

  package func open(_ path: String) throws(MemoryError) -> OpenFile {
    // A named pipe would keep open(2) waiting for a writer, and no signal ends that.
    let flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK
    let file = try OpenFile(number: check("open", path) { unsafe Foundation.open(path, flags) }, path: path)
    do throws(MemoryError) {
      let kind = try status(of: file).st_mode & S_IFMT
      if kind == S_IFREG || kind == S_IFDIR { return file }
      throw MemoryError.format(
        path: path, "it is no file, but a \(kind == S_IFIFO ? "named pipe" : "device or socket")")
    } catch {
      _ = Foundation.close(file.number)
      throw error
    }
  }

  private func status(of file: OpenFile) throws(MemoryError) -> stat {
    var status = stat()
    try check("fstat", file.path) { unsafe fstat(file.number, &status) }
    return status
  }

  package func write(_ bytes: RawSpan, to file: OpenFile) throws(MemoryError) -> Int {
    try check("write", file.path) {
      unsafe bytes.withUnsafeBytes { unsafe Foundation.write(file.number, $0.baseAddress, $0.count) }
    }
  }

  package func read(_ file: OpenFile, at offset: Int, upTo count: Int) throws(MemoryError) -> [UInt8] {
    var buffer = [UInt8](repeating: 0, count: count)
    let n = try check("pread", file.path) {
      unsafe buffer.withUnsafeMutableBytes { unsafe pread(file.number, $0.baseAddress, $0.count, off_t(offset)) }
    }
    buffer.removeLast(count - n)
    return buffer
  }

  package func size(of file: OpenFile) throws(MemoryError) -> Int {
    let status = try status(of: file)
    if status.st_mode & S_IFMT == S_IFDIR { throw .system(call: "read", path: file.path, errno: EISDIR) }
    return Int(status.st_size)
  }

  package func synchronize(_ file: OpenFile) throws(MemoryError) {
    try check("fsync", file.path) { fsync(file.number) }
  }

  package func close(_ file: OpenFile) throws(MemoryError) {
    try check("close", file.path) { Foundation.close(file.number) }
  }

  package func rename(_ old: String, to new: String) throws(MemoryError) {
    try check("rename", new) { unsafe Foundation.rename(old, new) }
  }

  package func link(_ old: String, to new: String) throws(MemoryError) {
    try check("link", new) { unsafe Foundation.link(old, new) }
  }

  package func unlink(_ path: String) throws(MemoryError) {
    try check("unlink", path) { unsafe Foundation.unlink(path) }
  }

  package func makeFolder(_ path: String) throws(MemoryError) {
    try check("mkdir", path) { unsafe mkdir(path, 0o755) }
  }

  package func synchronizeFolder(_ path: String) throws(MemoryError) {
    let folder = try open(path)
    defer { _ = Foundation.close(folder.number) }
    try synchronize(folder)
  }

  package func list(_ folder: String) throws(MemoryError) -> [String] {
    guard let stream = unsafe opendir(folder) else { throw lastError("opendir", folder) }
    defer { unsafe closedir(stream) }
    var names: [String] = []
    while let entry = unsafe try nextEntry("readdir", folder, { unsafe readdir(stream) }) {
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
        unsafe String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names.sorted()
  }
}
