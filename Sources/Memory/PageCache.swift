import Foundation

/// The kernel's memory of file contents: what decides whether a read is cold or warm.
package enum PageCache {
  /// Writes a file's pages to the disk and forgets them (fsync(2), posix_fadvise(2) POSIX_FADV_DONTNEED). Pages that
  /// somebody has mapped stay: ask `residentShare` what came of it.
  package static func drop(_ path: String) throws(MemoryError) {
    let file = try FileDescriptor(readingFrom: path)
    try file.synchronize()
    let code = posix_fadvise(file.file.number, 0, 0, POSIX_FADV_DONTNEED)
    // It returns the error number and leaves errno alone.
    guard code == 0 else { throw .system(call: "posix_fadvise", path: path, errno: code) }
  }

  /// Forgets the contents of all files on the machine; root's alone (/proc/sys/vm/drop_caches).
  package static func dropAll() throws(MemoryError) {
    sync()
    let path = "/proc/sys/vm/drop_caches"
    let descriptor = try check("open", path) { unsafe open(path, O_WRONLY | O_CLOEXEC) }
    defer { close(descriptor) }
    let one = Array("1\n".utf8)
    try check("write", path) { unsafe one.withUnsafeBytes { unsafe write(descriptor, $0.baseAddress, $0.count) } }
  }

  /// Part of a file's pages that are in memory, 0 to 1 (mincore(2)); 1 for an empty file.
  package static func residentShare(_ path: String) throws(MemoryError) -> Double {
    let file = try MappedFile(path: path)
    guard file.count > 0 else { return 1 }
    let pageBytes = Int(getpagesize())
    var pages = [UInt8](repeating: 0, count: (file.count + pageBytes - 1) / pageBytes)
    try file.withBytes { (bytes: RawSpan) throws(MemoryError) in
      let code = unsafe bytes.withUnsafeBytes { mapped in
        unsafe pages.withUnsafeMutableBufferPointer { pages in
          unsafe mincore(UnsafeMutableRawPointer(mutating: mapped.baseAddress), mapped.count, pages.baseAddress)
        }
      }
      try check("mincore", path) { code }
    }
    // The low bit is the answer, the others are reserved.
    return Double(pages.reduce(0) { $0 + Int($1 & 1) }) / Double(pages.count)
  }
}
