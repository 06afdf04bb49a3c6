import ActCache
import Foundation
import Memory

/// Bytes of a corpus file, decompressed, from front to back.
protocol ByteSource: AnyObject {
  /// The next bytes; empty at the end.
  func read() throws -> [UInt8]
  /// Bytes of the file itself that have been read so far.
  var bytesConsumed: Int { get }
}

/// Opens `path` as its name says.
func openCorpus(_ path: String) throws -> any ByteSource {
  if path == "-" { return FileBytes(try standardInput()) }
  let file: FileBytes
  do { file = try FileBytes(path: path) } catch let error as MemoryError { throw HarvestError.missing("\(error)") }
  switch try CorpusFormat(path: path).compression {
  case .none: return file
  case .zstd: return try ZstdBytes(file, path: path)
  case .gzip: return try GzipBytes(path: path)
  }
}

/// A file as it is.
final class FileBytes: ByteSource {
  private let file: FileDescriptor
  private(set) var bytesConsumed = 0

  init(_ file: consuming FileDescriptor) { self.file = file }

  convenience init(path: String) throws {
    let file = try FileDescriptor(streamingFrom: path)
    // A folder can be opened, but has no bytes.
    _ = try file.size()
    self.init(file)
  }

  func read() throws -> [UInt8] {
    let bytes = try file.read(upTo: 1 << 18)
    bytesConsumed += bytes.count
    return bytes
  }
}

/// A `.zst` file.
final class ZstdBytes: ByteSource {
  private let source: FileBytes
  private let path: String
  private let decoder: ZstdStreamDecoder
  var bytesConsumed: Int { source.bytesConsumed }

  init(_ source: FileBytes, path: String) throws {
    self.source = source
    self.path = path
    decoder = try ZstdStreamDecoder()
  }

  func read() throws -> [UInt8] {
    var output: [UInt8] = []
    while output.isEmpty {
      let input = try source.read()
      if input.isEmpty {
        guard decoder.isAtFrameEnd else {
          throw HarvestError.mismatch("\(path): the zstd file is cut short; get it again")
        }
        return []
      }
      do { try decoder.decode(input) { output += $0 } } catch let error as ActCacheError {
        throw HarvestError.mismatch("\(path): \(error)")
      }
    }
    return output
  }
}

/// A `.gz` file, through the `gzip` program.
final class GzipBytes: ByteSource {
  private let path: String
  private let process = Process()
  private let output = Pipe()
  private var isFinished = false
  private(set) var bytesConsumed = 0

  init(path: String) throws {
    self.path = path
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["gzip", "-dc", "--", path]
    process.standardOutput = output
    process.standardInput = FileHandle.nullDevice
    do { try process.run() } catch { throw HarvestError.system("\(path): gzip cannot be started (\(error))") }
  }

  deinit {
    if !isFinished, process.isRunning { process.terminate() }
  }

  func read() throws -> [UInt8] {
    if isFinished { return [] }
    let bytes = [UInt8](try output.fileHandleForReading.read(upToCount: 1 << 18) ?? Data())
    guard bytes.isEmpty else { return bytes }
    process.waitUntilExit()
    isFinished = true
    guard process.terminationStatus == 0 else {
      throw HarvestError.mismatch(
        "\(path): gzip ended with code \(process.terminationStatus); the file is damaged or gzip is not installed")
    }
    bytesConsumed = (try? FileDescriptor(readingFrom: path).size()) ?? 0
    return []
  }
}
