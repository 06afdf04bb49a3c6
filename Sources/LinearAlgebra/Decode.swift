// B tokens, d width, n latents

/// out = code·wDec − target for every token (the residual of a reconstruction), and dLoss/dValue of every active
/// entry for the loss ½·scale·Σ out²: `gradients = scale·⟨out, wDec[latent]⟩`.
///
/// A token's decoder rows are read twice while they are in cache; nothing of size B × n exists.
///
/// - Parameters:
///   - wDec: [n, d]; row j is the decoder direction of latent j.
///   - target: [B, d]. For an SAE this is x − bDec.
///   - out: [B, d], overwritten.
/// - Returns: Σ out².
package func decodeResidual(
  _ code: inout SparseCode, _ wDec: borrowing Matrix, target: Strip, scale: Float, into out: Strip
) -> Double {
  let (tokens, d) = (target.rows, target.columns)
  precondition(
    wDec.columns == d && wDec.rows == code.nLatents,
    "decoder [\(wDec.rows), \(wDec.columns)] for [\(code.nLatents), \(d)]")
  precondition(
    code.rows == tokens && out.rows == tokens && out.columns == d && target.stride == d && out.stride == d,
    "\(code.rows) rows, target [\(tokens), \(d)]")
  if code.isDense { return denseResidual(&code, wDec.strip, target: target, scale: scale, into: out) }
  let (weights, targets, outs) = (wDec.base, target.base, out.base)
  let grain = 64
  var sums = [Double](repeating: 0, count: (tokens + grain - 1) / grain)
  sums.withUnsafeMutableBufferPointer { sums in
    code.starts.withUnsafeBufferPointer { starts in
      code.counts.withUnsafeBufferPointer { counts in
        code.latents.withUnsafeBufferPointer { latents in
          code.values.withUnsafeBufferPointer { values in
            code.gradients.withUnsafeMutableBufferPointer { gradients in
              let shared = Shared((sums, starts, counts, latents, values, gradients))
              Threads.forEachRange(tokens, grain: grain) { range in
                let (sums, starts, counts, latents, values, gradients) = shared.value
                var total = 0.0
                for b in range {
                  let row = outs + b * d
                  let entries = Int(starts[b])..<Int(starts[b] + counts[b])
                  negate(targets + b * d, into: row, count: d)
                  accumulate(entries, into: row, count: d) {
                    (values[$0], weights + Int(latents[$0]) * d)
                  }
                  for entry in entries {
                    gradients[entry] = scale * dot(row, weights + Int(latents[entry]) * d, count: d)
                  }
                  total += Double(dot(row, row, count: d))
                }
                sums[range.lowerBound / grain] = total
              }
            }
          }
        }
      }
    }
  }
  return sums.reduce(0, +)
}

/// `gradients = ⟨dOut, wDec[latent]⟩` of every active entry: dLoss/dValue, for dOut = dLoss/dReconstruction [B, d].
package func latentGradients(_ code: inout SparseCode, _ wDec: borrowing Matrix, dOut: Strip) {
  let d = wDec.columns
  precondition(
    wDec.rows == code.nLatents && code.rows == dOut.rows && dOut.columns == d && dOut.stride == d,
    "decoder [\(wDec.rows), \(d)], \(code.rows) rows for [\(dOut.rows), \(dOut.columns)]")
  if code.isDense { return setDenseGradients(&code, wDec.strip, dOut: dOut) }
  let (weights, outs) = (wDec.base, dOut.base)
  code.withGradients { code, gradients in
    gradients.withUnsafeMutableBufferPointer { gradients in
      code.withTiles { code in
        let gradients = Shared(gradients.baseAddress!)
        Threads.forEachRange(dOut.rows, grain: 64) { range in
          let gradients = gradients.value
          for b in range {
            for entry in code.entries(of: b) {
              gradients[entry] = dot(outs + b * d, weights + Int(code.latents[entry]) * d, count: d)
            }
          }
        }
      }
    }
  }
}

/// out = code·wDec + bias: reconstructions.
package func decodeLatents(_ code: SparseCode, _ wDec: borrowing Matrix, bias: borrowing Matrix, into out: Strip) {
  let d = wDec.columns
  precondition(
    wDec.rows == code.nLatents && bias.count == d && out.columns == d && out.stride == d && out.rows == code.rows,
    "decoder [\(wDec.rows), \(d)], \(code.rows) rows into [\(out.rows), \(out.columns)]")
  let (weights, base, start) = (wDec.base, out.base, bias.base)
  if code.isDense {
    Threads.forEachRange(code.rows, grain: 256) { range in
      for b in range { (base + b * d).update(from: start, count: d) }
    }
    return addDenseProducts(code, code.values, wDec.strip, to: out)
  }
  code.values.withUnsafeBufferPointer { values in
    code.withTiles { code in
      let values = Shared(values.baseAddress!)
      Threads.forEachRange(out.rows, grain: 64) { range in
        let values = values.value
        for b in range {
          let row = base + b * d
          row.update(from: start, count: d)
          accumulate(code.entries(of: b), into: row, count: d) { (values[$0], weights + Int(code.latents[$0]) * d) }
        }
      }
    }
  }
}

/// row += factor·x
@inline(__always) func accumulate(
  _ x: UnsafePointer<Float>, times factor: Float, into row: UnsafeMutablePointer<Float>, count: Int
) {
  let f = Lanes(repeating: factor)
  var i = 0
  while i + 16 <= count {
    row.store(row.lanes(at: i).addingProduct(f, x.lanes(at: i)), at: i)
    i += 16
  }
  while i < count {
    row[i] = row[i].addingProduct(factor, x[i])
    i += 1
  }
}

/// row += Σ over `entries` of factor · x, with the factor and the row x that `term` names.
///
/// Short rows are summed in registers, 64 elements at a time; long ones entry by entry, so that each x is read as a whole.
@inline(__always) func accumulate(
  _ entries: Range<Int>, into row: UnsafeMutablePointer<Float>, count: Int,
  _ term: (Int) -> (factor: Float, x: UnsafeMutablePointer<Float>)
) {
  if count > 256 {
    for entry in entries {
      let (factor, x) = term(entry)
      accumulate(x, times: factor, into: row, count: count)
    }
    return
  }
  var i = 0
  while i &+ 64 <= count {
    var (a0, a1) = (row.lanes(at: i), row.lanes(at: i &+ 16))
    var (a2, a3) = (row.lanes(at: i &+ 32), row.lanes(at: i &+ 48))
    for entry in entries {
      let (factor, x) = term(entry)
      let f = Lanes(repeating: factor)
      a0 = a0.addingProduct(f, x.lanes(at: i))
      a1 = a1.addingProduct(f, x.lanes(at: i &+ 16))
      a2 = a2.addingProduct(f, x.lanes(at: i &+ 32))
      a3 = a3.addingProduct(f, x.lanes(at: i &+ 48))
    }
    row.store(a0, at: i)
    row.store(a1, at: i &+ 16)
    row.store(a2, at: i &+ 32)
    row.store(a3, at: i &+ 48)
    i &+= 64
  }
  if i == count { return }
  for entry in entries {
    let (factor, x) = term(entry)
    accumulate(x + i, times: factor, into: row + i, count: count &- i)
  }
}

@inline(__always) func negate(_ x: UnsafePointer<Float>, into row: UnsafeMutablePointer<Float>, count: Int) {
  var i = 0
  while i + 16 <= count {
    row.store(-x.lanes(at: i), at: i)
    i += 16
  }
  while i < count {
    row[i] = -x[i]
    i += 1
  }
}

@inline(__always) func dot(_ x: UnsafePointer<Float>, _ y: UnsafePointer<Float>, count: Int) -> Float {
  var sum = Lanes(repeating: 0)
  var sum2 = Lanes(repeating: 0)
  var i = 0
  while i + 32 <= count {
    sum = sum.addingProduct(x.lanes(at: i), y.lanes(at: i))
    sum2 = sum2.addingProduct(x.lanes(at: i + 16), y.lanes(at: i + 16))
    i += 32
  }
  var total = (sum + sum2).total
  while i < count {
    total = total.addingProduct(x[i], y[i])
    i += 1
  }
  return total
}
