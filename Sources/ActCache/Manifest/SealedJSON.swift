import Foundation
import Memory

/// A JSON file that carries its own digest:
///
///     {"<name>":<canonical JSON>,
///     "sha256":"<hex SHA-256 of the canonical JSON>"}
///
/// It is plain JSON for everybody, and no byte of it can change unnoticed.
enum SealedJSON {
  static func seal(_ value: some Encodable, name: String) throws -> [UInt8] {
    let body = try CanonicalJSON.encode(value)
    return Array("{\"\(name)\":".utf8) + body + Array(",\n\"sha256\":\"\(CanonicalJSON.hexDigest(of: body))\"}\n".utf8)
  }

  /// Writes `value` to `path` durably.
  static func write(_ value: some Encodable, name: String, to path: String, files: any FileOperations) throws {
    let bytes = try seal(value, name: name)
    try fileErrors { () throws(MemoryError) in try DurableFile.write(bytes, to: path, files: files) }
  }

  /// Reads the file at `path`. Throws `ActCacheError.damaged` with `remedy`.
  static func open<T: Decodable>(
    _ type: T.Type, name: String, path: String, remedy: String, files: any FileOperations
  ) throws -> T {
    try open(type, name: name, bytes: read(path, remedy: remedy, files: files), path: path, remedy: remedy)
  }

  /// The bytes of a file that could be one. Throws `ActCacheError.damaged` with `remedy`, `.file`.
  static func read(_ path: String, remedy: String, files: any FileOperations) throws(ActCacheError) -> [UInt8] {
    do { return try readFile(path, atMost: ShardLimits.maxManifestBytes, files: files) } catch .format(_, let what) {
      throw .damaged(file: path, what: what, remedy: remedy)
    } catch .system(_, _, EISDIR) {
      throw .damaged(file: path, what: "it is a folder, not a file", remedy: remedy)
    } catch { throw .file(error) }
  }

  static func open<T: Decodable>(
    _ type: T.Type, name: String, bytes: [UInt8], path: String, remedy: String
  ) throws -> T {
    let head = Array("{\"\(name)\":".utf8)
    let seal = Array(",\n\"sha256\":\"".utf8)
    let tail = Array("\"}\n".utf8)
    let sealStart = bytes.count - seal.count - 64 - tail.count
    guard sealStart >= head.count, bytes.starts(with: head), bytes[sealStart...].starts(with: seal),
      bytes.suffix(tail.count) == tail[...]
    else {
      throw ActCacheError.damaged(
        file: path, what: "the file is cut short or is no \(name) of a cache (\(bytes.count) bytes)", remedy: remedy)
    }
    let body = Array(bytes[head.count..<sealStart])
    let stated = String(decoding: bytes[(sealStart + seal.count)...].prefix(64), as: UTF8.self)
    guard CanonicalJSON.hexDigest(of: body) == stated else {
      throw ActCacheError.damaged(
        file: path,
        what:
          "its content has SHA-256 \(CanonicalJSON.hexDigest(of: body).prefix(12)), its last line says \(stated.prefix(12))",
        remedy: remedy)
    }
    do { return try JSONDecoder().decode(type, from: Data(body)) } catch {
      throw ActCacheError.damaged(
        file: path, what: "it was written by another version of this program (\(describe(error)))", remedy: remedy)
    }
  }

  private static func describe(_ error: any Error) -> String {
    switch error {
    case DecodingError.keyNotFound(let key, _): "no member \(key.stringValue)"
    case DecodingError.typeMismatch(_, let context), DecodingError.valueNotFound(_, let context),
      DecodingError.dataCorrupted(let context):
      (context.codingPath.map(\.stringValue) + [context.debugDescription]).joined(separator: ": ")
    default: "\(error)"
    }
  }
}
