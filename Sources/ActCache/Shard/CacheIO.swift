import Foundation
import Memory

/// How the files of a cache are read.
public enum CacheIO: String, Codable, CaseIterable, Sendable {
  /// Mapped. A file that shrinks while it is read kills the process (SIGBUS): for storage that nobody else writes to.
  case mmap
  /// pread(2) into buffers that are used again: whatever the storage does is an error that names the file.
  case pread
}

/// An open file of a shard, whose size was checked before anything else was done with it.
enum ShardFile: ~Copyable, Sendable {
  case mapped(MappedFile)
  case file(FileDescriptor)

  /// - Throws: `ShardFault` if it is not there or has another size than `expected`, `ActCacheError.file`.
  static func open(path: String, bytes expected: Int?, io: CacheIO) throws -> ShardFile {
    do {
      let descriptor = try FileDescriptor(readingFrom: path)
      let count = try descriptor.size()
      if let expected, count != expected {
        throw ShardFault("the file has \(count) bytes, its receipt says \(expected)")
      }
      switch io {
      case .mmap: return .mapped(try MappedFile(descriptor, count: count))
      case .pread: return .file(descriptor)
      }
    } catch MemoryError.system("open", _, ENOENT) {
      throw ShardFault("the file is gone")
    } catch MemoryError.format(_, let what) {
      throw ShardFault(what)
    } catch MemoryError.system(_, _, EISDIR) {
      throw ShardFault("it is a folder, not a file")
    } catch let error as MemoryError { throw ActCacheError.file(error) }
  }

  /// Size in bytes.
  borrowing func size() throws(MemoryError) -> Int {
    switch self {
    case .mapped(let mapping): mapping.count
    case .file(let descriptor): try descriptor.size()
    }
  }

  /// A copy of bytes `range`.
  borrowing func bytes(_ range: Range<Int>) throws -> [UInt8] {
    switch self {
    case .mapped(let mapping): try mapping.withBytes(at: range.lowerBound, count: range.count) { $0.bytes() }
    case .file(let descriptor): try descriptor.read(at: range.lowerBound, count: range.count)
    }
  }

  /// Lends bytes `range`: of the mapping, or read into `buffer`, which is replaced by a larger one where need be.
  borrowing func withBytes<R>(_ range: Range<Int>, buffer: inout FrameBuffer, _ body: (RawSpan) throws -> R) throws -> R
  {
    switch self {
    case .mapped(let mapping): return try mapping.withBytes(at: range.lowerBound, count: range.count, body)
    case .file(let descriptor):
      if buffer.count < range.count {
        // With room for the frames to come, whose sizes differ a little.
        buffer = FrameBuffer(count: max(1 << 16, range.count + range.count / 4))
      }
      try buffer.withMutableBytes(0..<range.count) { bytes in try descriptor.read(at: range.lowerBound, into: &bytes) }
      return try buffer.withBytes(0..<range.count, body)
    }
  }
}
