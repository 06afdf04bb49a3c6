import Crypto
import Foundation
import Memory
import TestSupport

@testable import ActCache

/// A shard taken apart, so that a test can put it together otherwise with digests that are right again.
struct TestShard {
  private var header: CanonicalJSON
  private var frames: [[UInt8]]
  /// (compressed, content, checksum) of header, frames and index.
  private var entries: [[UInt32]]

  init(_ file: [UInt8]) throws {
    (header, frames, entries) = try file.withRawSpan { bytes in
      let size = bytes.byteCount
      let n = Int(bytes.u32(at: size - 9) ?? 0)
      let table = size - 9 - 12 * n
      let entries = (0..<n).map { i in (0..<3).map { bytes.u32(at: table + 12 * i + 4 * $0) ?? 0 } }
      var position = 0
      var frames: [[UInt8]] = []
      for entry in entries {
        frames.append(Array(file[position..<(position + Int(entry[0]))]))
        position += Int(entry[0])
      }
      let header = try CanonicalJSON(parsing: Array(frames[0].dropFirst(8)))
      return (header, Array(frames[1..<(n - 1)]), entries)
    }
  }

  /// Something in it changed.
  func mutated(
    _ mutate: (CanonicalJSON, inout SeededGenerator) -> CanonicalJSON,
    numbers: (inout SeededGenerator) -> UInt64, using generator: inout SeededGenerator
  ) -> [UInt8] {
    var shard = self
    for _ in 0..<Int.random(in: 1...2, using: &generator) {
      switch Int.random(in: 0..<6, using: &generator) {
      case 0...2: shard.header = mutate(header, &generator)
      case 3:
        let i = Int.random(in: shard.entries.indices, using: &generator)
        let j = Int.random(in: 0..<3, using: &generator)
        shard.entries[i][j] =
          UInt32(truncatingIfNeeded: numbers(&generator)) >> UInt32.random(in: 0..<32, using: &generator)
      case 4:
        guard let i = shard.frames.indices.randomElement(using: &generator) else { break }
        for _ in 0..<3 {
          guard let j = shard.frames[i].indices.randomElement(using: &generator) else { break }
          shard.frames[i][j] = UInt8(truncatingIfNeeded: numbers(&generator))
        }
      default:
        if Bool.random(using: &generator), !shard.frames.isEmpty {
          shard.frames.removeLast()
          shard.entries.remove(at: shard.entries.count - 2)
        } else if let last = shard.frames.last {
          shard.frames.append(last)
          shard.entries.insert(shard.entries[shard.entries.count - 2], at: shard.entries.count - 1)
        }
      }
    }
    return shard.file
  }

  /// The file, with all digests right.
  private var file: [UInt8] {
    let json = header.bytes
    let total = (9 + json.count + 4095) / 4096 * 4096
    var head: [UInt8] = []
    head.append(u32: 0x184D_2A50)
    head.append(u32: UInt32(total - 8))
    head += json + [UInt8](repeating: 0x20, count: total - 9 - json.count) + [0x0A]
    let seed = frameDigestSeed(headerFrame: head)
    var index: [UInt8] = []
    index.append(u32: 0x184D_2A51)
    index.append(u32: UInt32(8 + 4 + 8 * frames.count + 32))
    index += Array("ACINDEX1".utf8)
    index.append(u32: UInt32(frames.count))
    for (i, frame) in frames.enumerated() {
      index.append(u64: frame.withRawSpan { XXH64.hash($0, seed: seed &+ UInt64(i)) })
    }
    var table: [UInt8] = []
    table.append(u32: 0x184D_2A5E)
    table.append(u32: UInt32(12 * entries.count + 9))
    for entry in entries { for number in entry { table.append(u32: number) } }
    table.append(u32: UInt32(entries.count))
    table.append(0x80)
    table.append(u32: 0x8F92_EAB1)
    var sha = SHA256()
    sha.update(data: head + index + table)
    return head + frames.joined() + index + sha.finalize() + table
  }
}
