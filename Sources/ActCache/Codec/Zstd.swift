import CZstd

/// A failed call of libzstd: the function and its own words for the error.
struct ZstdError: Error, Equatable, CustomStringConvertible {
  let call: String
  let reason: String
  var description: String { "\(call): \(reason)" }
}

/// Turns a return code of libzstd into an error. The one place that asks `ZSTD_isError`.
@discardableResult
private func check(_ call: String, _ code: Int) throws(ZstdError) -> Int {
  if ZSTD_isError(code) != 0 {
    throw ZstdError(call: call, reason: unsafe String(cString: ZSTD_getErrorName(code)))
  }
  return code
}

/// A compression context (`ZSTD_CCtx`), for one thread at a time.
@safe final class ZstdEncoder {
  private let context: OpaquePointer

  /// Makes frames that state their content size and end in a checksum of the content.
  init(level: Int) throws(ZstdError) {
    guard let context = unsafe ZSTD_createCCtx() else {
      throw ZstdError(call: "ZSTD_createCCtx", reason: "out of memory")
    }
    unsafe self.context = context
    try check("ZSTD_c_compressionLevel", unsafe ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, Int32(level)))
    try check("ZSTD_c_checksumFlag", unsafe ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1))
    try check("ZSTD_c_contentSizeFlag", unsafe ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 1))
  }

  deinit { unsafe ZSTD_freeCCtx(context) }

  /// One frame of `bytes`, in which the zstd block ends every `planeByteCount` bytes, so that no two byte planes
  /// share a Huffman table (without this bf16 stays at 78 % instead of 68 %).
  func frame(_ bytes: RawSpan, planeByteCount: Int) throws(ZstdError) -> [UInt8] {
    let plane = max(1, min(planeByteCount, bytes.byteCount))
    return try frame(bytes, blockEnds: Array(stride(from: plane, to: max(plane, bytes.byteCount), by: plane)))
  }

  /// One frame of `bytes`, in which a zstd block ends at each of `blockEnds` (ascending), and at the end.
  func frame(_ bytes: RawSpan, blockEnds: [Int]) throws(ZstdError) -> [UInt8] {
    let total = bytes.byteCount
    precondition(blockEnds.allSatisfy { $0 >= 0 && $0 <= total }, "blocks end at \(blockEnds) of \(total) bytes")
    try check("ZSTD_CCtx_reset", unsafe ZSTD_CCtx_reset(context, ZSTD_reset_session_only))
    try check("ZSTD_CCtx_setPledgedSrcSize", unsafe ZSTD_CCtx_setPledgedSrcSize(context, UInt64(total)))
    // Each flush may cost one more block header (3 bytes) than the bound counts.
    let capacity = ZSTD_compressBound(total) + 64 + 8 * (blockEnds.count + 1)
    var failure: ZstdError?
    let frame = unsafe [UInt8](unsafeUninitializedCapacity: capacity) { buffer, count in
      var output = unsafe ZSTD_outBuffer(dst: buffer.baseAddress, size: capacity, pos: 0)
      do throws(ZstdError) {
        try unsafe bytes.withUnsafeBytes { (input: UnsafeRawBufferPointer) throws(ZstdError) in
          var position = 0
          for end in blockEnds.filter({ $0 < total }) + [total] where end > position || end == total {
            let operation = end == total ? ZSTD_e_end : ZSTD_e_flush
            var source = unsafe ZSTD_inBuffer(src: input.baseAddress, size: end, pos: position)
            while true {
              let rest = try check(
                "ZSTD_compressStream2", unsafe ZSTD_compressStream2(context, &output, &source, operation))
              if rest == 0 { break }
              if unsafe output.pos == output.size {
                throw ZstdError(call: "ZSTD_compressStream2", reason: "the output bound is too small")
              }
            }
            position = end
          }
        }
        count = unsafe output.pos
      } catch {
        failure = error
        count = 0
      }
    }
    if let failure { throw failure }
    return frame
  }
}

/// A decompression context (`ZSTD_DCtx`), for one thread at a time.
@safe final class ZstdDecoder {
  private let context: OpaquePointer

  /// - Parameter verifiesContent: also check the checksum of the content that a frame ends with. It proves nothing more
  ///   about bytes whose digest has been checked, and costs a tenth of the decoding.
  init(verifiesContent: Bool = true) throws(ZstdError) {
    guard let context = unsafe ZSTD_createDCtx() else {
      throw ZstdError(call: "ZSTD_createDCtx", reason: "out of memory")
    }
    unsafe self.context = context
    // ZSTD_d_forceIgnoreChecksum by its stable name. A library without it goes on checking.
    if !verifiesContent { _ = unsafe ZSTD_DCtx_setParameter(context, ZSTD_d_experimentalParam3, 1) }
  }

  deinit { unsafe ZSTD_freeDCtx(context) }

  /// Decodes exactly one whole frame into exactly `output` (one shot: otherwise the end of the frame, where its
  /// checksum is, could be left unread).
  func decode(_ frame: RawSpan, into output: inout MutableRawSpan) throws(ZstdError) {
    let count = output.byteCount
    let written = unsafe output.withUnsafeMutableBytes { target in
      unsafe frame.withUnsafeBytes { source in
        unsafe ZSTD_decompressDCtx(context, target.baseAddress, count, source.baseAddress, source.count)
      }
    }
    guard try check("ZSTD_decompressDCtx", written) == count else {
      throw ZstdError(call: "ZSTD_decompressDCtx", reason: "\(written) bytes came out, \(count) were expected")
    }
  }
}

/// What a frame's header says its content is long; nil if it does not say or is not a zstd frame.
func zstdContentSize(_ frame: RawSpan) -> Int? {
  let size = unsafe frame.withUnsafeBytes { unsafe ZSTD_getFrameContentSize($0.baseAddress, $0.count) }
  return Int(exactly: size)
}

/// Decodes a `.zst` file of any making piece by piece, in memory that does not grow with the file.
@safe package final class ZstdStreamDecoder {
  private let stream: OpaquePointer
  private var isInFrame = false

  package init() throws(ActCacheError) {
    guard let stream = unsafe ZSTD_createDStream() else {
      throw .limit("ZSTD_createDStream: out of memory")
    }
    unsafe self.stream = stream
  }

  deinit { unsafe ZSTD_freeDStream(stream) }

  /// True after the last byte of a frame: the only places where a file may end.
  package var isAtFrameEnd: Bool { !isInFrame }

  /// Gives what `input` adds to the text, in pieces. Throws `ActCacheError.mismatch` on bytes that are not zstd.
  package func decode(_ input: [UInt8], _ body: ([UInt8]) throws -> Void) throws {
    let capacity = max(ZSTD_DStreamOutSize(), 1 << 16)
    var position = 0
    while true {
      var outcome: Result<Int, ZstdError> = .success(0)
      var isFull = false
      let before = position
      let piece = unsafe [UInt8](unsafeUninitializedCapacity: capacity) { buffer, count in
        var output = unsafe ZSTD_outBuffer(dst: buffer.baseAddress, size: capacity, pos: 0)
        outcome = unsafe input.withUnsafeBytes { bytes in
          var source = unsafe ZSTD_inBuffer(src: bytes.baseAddress, size: bytes.count, pos: position)
          let code = unsafe ZSTD_decompressStream(stream, &output, &source)
          position = unsafe source.pos
          return Result { () throws(ZstdError) in try check("ZSTD_decompressStream", code) }
        }
        count = unsafe output.pos
        isFull = unsafe output.pos == output.size
      }
      switch outcome {
      case .failure(let error): throw ActCacheError.mismatch("not a whole zstd file: \(error)")
      case .success(let rest):
        // A call that moves nothing answers with the size of the next header, which says nothing about this frame.
        if position != before || !piece.isEmpty { isInFrame = rest != 0 }
      }
      if !piece.isEmpty { try body(piece) }
      if position == input.count && !isFull { return }
    }
  }
}

/// The version of the libzstd that is loaded, for instance "1.5.4" (ZSTD_versionString).
package var zstdVersion: String { unsafe String(cString: ZSTD_versionString()) }
