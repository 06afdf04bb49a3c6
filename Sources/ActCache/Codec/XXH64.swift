/// XXH64, the 64-bit hash of the xxHash family, at memory speed.
///
/// Four lanes of `lane = rotl(lane + word · p2, 31) · p1` over stripes of 32 bytes, folded into one word, then the
/// tail and an avalanche (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md, "XXH64 algorithm
/// description").
enum XXH64 {
  private static let p1: UInt64 = 0x9E37_79B1_85EB_CA87
  private static let p2: UInt64 = 0xC2B2_AE3D_27D4_EB4F
  private static let p3: UInt64 = 0x1656_67B1_9E37_79F9
  private static let p4: UInt64 = 0x85EB_CA77_C2B2_AE63
  private static let p5: UInt64 = 0x27D4_EB2F_1656_67C5

  static func hash(_ bytes: RawSpan, seed: UInt64) -> UInt64 {
    unsafe bytes.withUnsafeBytes { unsafe hash($0, seed: seed) }
  }

  private static func hash(_ bytes: UnsafeRawBufferPointer, seed: UInt64) -> UInt64 {
    let n = bytes.count
    var i = 0
    var h: UInt64
    if n >= 32 {
      var v1 = seed &+ p1 &+ p2
      var v2 = seed &+ p2
      var v3 = seed
      var v4 = seed &- p1
      while i <= n - 32 {
        v1 = round(v1, unsafe word(bytes, i))
        v2 = round(v2, unsafe word(bytes, i + 8))
        v3 = round(v3, unsafe word(bytes, i + 16))
        v4 = round(v4, unsafe word(bytes, i + 24))
        i += 32
      }
      h = rotate(v1, 1) &+ rotate(v2, 7) &+ rotate(v3, 12) &+ rotate(v4, 18)
      for v in [v1, v2, v3, v4] { h = (h ^ round(0, v)) &* p1 &+ p4 }
    } else {
      h = seed &+ p5
    }
    h &+= UInt64(n)
    while i + 8 <= n {
      h = rotate(h ^ round(0, unsafe word(bytes, i)), 27) &* p1 &+ p4
      i += 8
    }
    if i + 4 <= n {
      let half = UInt64(UInt32(littleEndian: unsafe bytes.loadUnaligned(fromByteOffset: i, as: UInt32.self)))
      h = rotate(h ^ half &* p1, 23) &* p2 &+ p3
      i += 4
    }
    while i < n {
      h = rotate(h ^ UInt64(unsafe bytes[i]) &* p5, 11) &* p1
      i += 1
    }
    h = (h ^ (h &>> 33)) &* p2
    h = (h ^ (h &>> 29)) &* p3
    return h ^ (h &>> 32)
  }

  @inline(__always) private static func word(_ bytes: UnsafeRawBufferPointer, _ offset: Int) -> UInt64 {
    UInt64(littleEndian: unsafe bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
  }

  @inline(__always) private static func rotate(_ x: UInt64, _ r: UInt64) -> UInt64 { x &<< r | x &>> (64 &- r) }

  @inline(__always) private static func round(_ lane: UInt64, _ word: UInt64) -> UInt64 {
    rotate(lane &+ word &* p2, 31) &* p1
  }
}
