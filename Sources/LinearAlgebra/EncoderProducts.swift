/// The products of an encoder with its input alone, made as `encodeLatents` makes them and thrown away: how long an encoder
/// takes that selects nothing.
///
/// - Parameters:
///   - x: [B, d].
///   - wEnc: [n, d].
package func encoderProducts(_ x: borrowing Matrix, _ wEnc: borrowing Matrix) {
  let (d, n) = (x.columns, wEnc.rows)
  precondition(wEnc.columns == d, "encoder [\(n), \(wEnc.columns)] for [\(x.rows), \(d)]")
  let bias = Matrix(1, n)
  let tiles = EncoderTiles(x: x.base, wEnc: wEnc.base, bias: bias.base, tokens: x.rows, d: d, n: n)
  Threads.forEach(tiles.nPieces) { tiles.forEach(in: tiles.rows(of: $0)) { _, _, _ in } }
}
