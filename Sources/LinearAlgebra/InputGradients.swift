// B tokens, d width, n latents

/// out = Σ over a token's entries of gradient · weights[latent]: dLoss/dx of a sparse encoder, for weights [n, d].
package func inputGradients(_ code: SparseCode, _ weights: borrowing Matrix, into out: Strip) {
  let d = weights.columns
  precondition(
    weights.rows == code.nLatents && out.rows == code.rows && out.columns == d,
    "weights [\(weights.rows), \(d)], \(code.rows) rows into [\(out.rows), \(out.columns)]")
  if code.isDense {
    out.fill(0)
    return addDenseProducts(code, code.gradients, weights.strip, to: out)
  }
  let w = weights.base
  code.gradients.withUnsafeBufferPointer { gradients in
    code.withTiles { code in
      let gradients = Shared(gradients.baseAddress!)
      Threads.forEachRange(out.rows, grain: 64) { range in
        let gradients = gradients.value
        for b in range {
          let row = out.row(b)
          row.update(repeating: 0, count: d)
          accumulate(code.entries(of: b), into: row, count: d) { (gradients[$0], w + Int(code.latents[$0]) * d) }
        }
      }
    }
  }
}
