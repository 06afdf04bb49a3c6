/// Rows of a tile of logits over a vocabulary of `v`: about 64 MiB, at least 64 rows, without which the product spends
/// its time packing the unembedding, and at most 1,024.
func rowsPerLogitTile(_ v: Int) -> Int { max(64, min(1024, (16 << 20) / max(1, v) / 16 * 16)) }

/// Logits of all states, as many rows at a time as fit into a tile of bounded size.
///
/// - Parameters:
///   - states: [R, D], the inputs of the unembedding.
///   - unembedding: [V, D].
///   - body: called with [rows, V] logits, which it may overwrite, and the rows of `states` they belong to, in order.
package func forEachLogitTile<E: Error>(
  _ states: Strip, unembedding: Strip, scratch: Scratch,
  _ body: (_ logits: Strip, _ rows: Range<Int>) throws(E) -> Void
) throws(E) {
  let perTile = rowsPerLogitTile(unembedding.rows)
  for start in stride(from: 0, to: states.rows, by: perTile) {
    let rows = start..<min(states.rows, start + perTile)
    let logits = scratch.strip(rows.count, unembedding.rows)
    tiledProduct(states.rows(rows), unembedding, into: logits, transposeB: true)
    try body(logits, rows)
  }
}
