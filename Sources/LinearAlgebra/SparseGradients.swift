// B tokens, d width (dIn of inputs, dOut of what is reconstructed, where they differ), n latents

/// Gradients of encoder and decoder from a sparse code, each weight row touched once:
///
///     dDec[j] (+)= scale · Σ_{b uses j} value·residual[b]
///     dEnc[j] (+)= Σ_{b uses j} gradient·x[b]           dBias[j] (+)= Σ_{b uses j} gradient
///
/// where `gradient` is dLoss/dPreAct of the entry. Tokens are added in ascending order within a latent, and latents
/// are what threads share, so sums do not depend on the threads.
///
/// - Parameters:
///   - index: `code.byLatent()`.
///   - rows: for each latent of the code its row in the gradients; nil if they are the same.
///   - residual: [B, dOut]; x: [B, dIn].
///   - nested: residuals of each group of latents, instead of `residual`.
///   - dDec: [n, dOut]; dEnc: [n, dIn]; dBias: [1, n]. Overwritten (rows without uses become 0), or added to if `accumulating`
///     (rows without uses are left alone).
///   - leavingUnused: rows of dDec and dEnc without uses are left alone in any case.
///   - sums: filled for the rows of dDec and dEnc that are written, while they are in cache; those of dDec without the
///     part along the rows of `unitDecoder`, if it is given.
package func weightGradients(
  _ code: SparseCode, _ index: LatentIndex, rows: [Int32]? = nil, residual: Strip,
  nested: NestedResiduals? = nil, scale: Float, x: Strip,
  dDec: inout Matrix, dEnc: inout Matrix, dBias: inout Matrix, accumulating: Bool = false, leavingUnused: Bool = false,
  sums: (dec: GradientSums, enc: GradientSums)? = nil, unitDecoder: Strip? = nil
) {
  weightGradients(
    code, index, rows: rows, residual: residual, nested: nested, scale: scale, x: x, dDec: dDec.strip, dEnc: dEnc.strip,
    dBias: dBias.strip, accumulating: accumulating, leavingUnused: leavingUnused, sums: sums, unitDecoder: unitDecoder)
}

/// The same into strips whose rows follow one another without gaps.
package func weightGradients(
  _ code: SparseCode, _ index: LatentIndex, rows: [Int32]? = nil, residual: Strip,
  nested: NestedResiduals? = nil, scale: Float, x: Strip,
  dDec: Strip, dEnc: Strip, dBias: Strip, accumulating: Bool = false, leavingUnused: Bool = false,
  sums: (dec: GradientSums, enc: GradientSums)? = nil, unitDecoder: Strip? = nil
) {
  let (dIn, dOut) = (x.columns, residual.columns)
  precondition(
    residual.stride == dOut && x.stride == dIn && dDec.columns == dOut && dEnc.columns == dIn && dDec.stride == dOut
      && dEnc.stride == dIn,
    "widths \(dIn) and \(dOut)")
  precondition(
    rows?.count ?? dDec.rows == code.nLatents && dEnc.rows == dDec.rows && dBias.columns == dDec.rows,
    "\(code.nLatents) latents")
  precondition(nested.map { $0.nLatents == code.nLatents && $0.strips[0].columns == dOut } ?? true, "nested residuals")
  precondition(
    sums.map { $0.dec.rows == dDec.rows && $0.enc.rows == dDec.rows } ?? true, "sums are not of \(dDec.rows) rows")
  precondition(
    unitDecoder.map { $0.rows == dDec.rows && $0.columns == dOut && $0.stride == dOut } ?? true,
    "decoder is not [\(dDec.rows), \(dOut)]")
  let unit = unitDecoder?.base
  let shared = min(dIn, dOut)
  let (xs, dec, enc, bias) = (x.base, dDec.base, dEnc.base, dBias.base)
  let isDense = nested == nil && code.isDense
  precondition(isDense || index.hasPlaces, "an index without places for a code that is not dense")
  Threads.forEachRange(code.nLatents, grain: isDense ? CodeTiles.latentsOfPiece(code.nLatents) : 32) { range in
    // Sums of the decoder's side, of the encoder's, and of gradients, where products make them.
    let decProducts = Matrix(uninitialized: isDense ? range.count : 0, dOut)
    let encProducts = Matrix(uninitialized: isDense ? range.count : 0, dIn)
    let totals = Matrix(uninitialized: 1, isDense ? range.count : 0)
    if isDense {
      code.withTiles { tiles in
        code.values.withUnsafeBufferPointer {
          tiles.setSums(range, $0.baseAddress!, scale: scale, of: residual, into: decProducts.strip)
        }
        code.gradients.withUnsafeBufferPointer {
          tiles.setSums(range, $0.baseAddress!, scale: 1, of: x, into: encProducts.strip, totals: totals.base)
        }
      }
    }
    index.tokens.withUnsafeBufferPointer { tokens in
      index.entries.withUnsafeBufferPointer { entries in
        code.values.withUnsafeBufferPointer { values in
          code.gradients.withUnsafeBufferPointer { gradients in
            for j in range {
              let uses = Int(index.starts[j])..<Int(index.starts[j + 1])
              if uses.isEmpty && accumulating { continue }
              let row = rows.map { Int($0[j]) } ?? j
              let e = nested?.strip(of: j).base ?? residual.base
              var biasSum: Float = 0
              if isDense {
                biasSum = totals.base[j - range.lowerBound]
              } else {
                for use in uses { biasSum += gradients[Int(entries[use])] }
              }
              bias[row] = accumulating ? bias[row] + biasSum : biasSum
              if uses.isEmpty && leavingUnused { continue }
              let (decRow, encRow) = (dec + row * dOut, enc + row * dIn)
              var i = 0
              if isDense {
                let a = decProducts.base + (j - range.lowerBound) * dOut
                let g = encProducts.base + (j - range.lowerBound) * dIn
                if accumulating {
                  accumulate(a, times: 1, into: decRow, count: dOut)
                  accumulate(g, times: 1, into: encRow, count: dIn)
                } else {
                  decRow.update(from: a, count: dOut)
                  encRow.update(from: g, count: dIn)
                }
              }
              // Four vectors of each gradient stay in registers over all uses.
              while !isDense && i + 64 <= shared {
                var (a0, a1, a2, a3) = (Lanes.zero, Lanes.zero, Lanes.zero, Lanes.zero)
                var (g0, g1, g2, g3) = (Lanes.zero, Lanes.zero, Lanes.zero, Lanes.zero)
                for use in uses {
                  let (b, c) = (Int(tokens[use]) * dOut + i, Int(tokens[use]) * dIn + i)
                  let entry = Int(entries[use])
                  let v = Lanes(repeating: values[entry] * scale)
                  let g = Lanes(repeating: gradients[entry])
                  a0 = a0.addingProduct(v, e.lanes(at: b))
                  a1 = a1.addingProduct(v, e.lanes(at: b + 16))
                  a2 = a2.addingProduct(v, e.lanes(at: b + 32))
                  a3 = a3.addingProduct(v, e.lanes(at: b + 48))
                  g0 = g0.addingProduct(g, xs.lanes(at: c))
                  g1 = g1.addingProduct(g, xs.lanes(at: c + 16))
                  g2 = g2.addingProduct(g, xs.lanes(at: c + 32))
                  g3 = g3.addingProduct(g, xs.lanes(at: c + 48))
                }
                if accumulating {
                  a0 += decRow.lanes(at: i)
                  a1 += decRow.lanes(at: i + 16)
                  a2 += decRow.lanes(at: i + 32)
                  a3 += decRow.lanes(at: i + 48)
                  g0 += encRow.lanes(at: i)
                  g1 += encRow.lanes(at: i + 16)
                  g2 += encRow.lanes(at: i + 32)
                  g3 += encRow.lanes(at: i + 48)
                }
                decRow.store(a0, at: i)
                decRow.store(a1, at: i + 16)
                decRow.store(a2, at: i + 32)
                decRow.store(a3, at: i + 48)
                encRow.store(g0, at: i)
                encRow.store(g1, at: i + 16)
                encRow.store(g2, at: i + 32)
                encRow.store(g3, at: i + 48)
                i += 64
              }
              addRest(
                of: uses, tokens, entries, values, times: scale, e, into: decRow, (isDense ? dOut : i)..<dOut,
                accumulating)
              addRest(
                of: uses, tokens, entries, gradients, times: 1, xs, into: encRow, (isDense ? dIn : i)..<dIn,
                accumulating)
              if let sums, uses.isEmpty && !accumulating {
                sums.dec.clear(row: row)
                sums.enc.clear(row: row)
              } else if let sums {
                sums.dec.record(row: row, decRow, along: unit.map { UnsafePointer($0 + row * dOut) }, count: dOut)
                sums.enc.record(row: row, encRow, along: nil, count: dIn)
              }
            }
          }
        }
      }
    }
  }
}

/// The columns `range` of one row of `weightGradients`: row (+)= Σ over uses of factor · numbers[entry] · rows[token].
/// rows: as wide as `row`, whose last column ends `range`.
@inline(__always) private func addRest(
  of uses: Range<Int>, _ tokens: UnsafeBufferPointer<Int32>, _ entries: UnsafeBufferPointer<Int32>,
  _ numbers: UnsafeBufferPointer<Float>, times factor: Float, _ rows: UnsafePointer<Float>,
  into row: UnsafeMutablePointer<Float>, _ range: Range<Int>, _ accumulating: Bool
) {
  let width = range.upperBound
  var i = range.lowerBound
  while i + 16 <= width {
    var sum = accumulating ? row.lanes(at: i) : Lanes.zero
    for use in uses {
      let number = Lanes(repeating: numbers[Int(entries[use])] * factor)
      sum = sum.addingProduct(number, rows.lanes(at: Int(tokens[use]) * width + i))
    }
    row.store(sum, at: i)
    i += 16
  }
  while i < width {
    var sum: Float = accumulating ? row[i] : 0
    for use in uses {
      sum = sum.addingProduct(numbers[Int(entries[use])] * factor, rows[Int(tokens[use]) * width + i])
    }
    row[i] = sum
    i += 1
  }
}

/// Takes from each row of `gradient` its part along the same row of `weights` (rows of unit norm): the gradient on
/// the sphere (Bricken et al. 2023, "Towards Monosemanticity", appendix).
package func removeParallelPart(of gradient: inout Matrix, along weights: borrowing Matrix) {
  let d = weights.columns
  precondition(
    gradient.rows == weights.rows && gradient.columns == d,
    "[\(gradient.rows), \(gradient.columns)] along [\(weights.rows), \(d)]")
  let (g, w) = (gradient.base, weights.base)
  Threads.forEachRange(weights.rows, grain: 256) { range in
    for j in range { accumulate(w + j * d, times: -dot(g + j * d, w + j * d, count: d), into: g + j * d, count: d) }
  }
}

/// From the gradient with respect to rows of unit norm (`unit`) to that with respect to the rows they were made from
/// (`raw`): dRaw = (dUnit − ⟨dUnit, unit⟩·unit) / ‖raw‖. Rows of zeros get no gradient.
package func passBackThroughNormalization(
  _ gradient: inout Matrix, unit: borrowing Matrix, raw: borrowing Matrix
) {
  let d = raw.columns
  removeParallelPart(of: &gradient, along: unit)
  let (g, w) = (gradient.base, raw.base)
  Threads.forEachRange(raw.rows, grain: 256) { range in
    for j in range {
      let norm = dot(w + j * d, w + j * d, count: d).squareRoot()
      multiply(g + j * d, by: norm > 0 ? 1 / norm : 0, count: d)
    }
  }
}

/// Σ of squares, summed in pieces of fixed size.
package func sumOfSquares(_ matrix: borrowing Matrix) -> Double {
  let base = matrix.base
  return reduce(matrix.count, grain: 1 << 16) { range in
    var sum = 0.0
    for start in stride(from: range.lowerBound, to: range.upperBound, by: 1024) {
      sum += Double(dot(base + start, base + start, count: min(1024, range.upperBound - start)))
    }
    return sum
  }
}

/// Adds up `partial` of pieces of 0..<n in ascending order, computed in parallel.
func reduce(_ n: Int, grain: Int, _ partial: (Range<Int>) -> Double) -> Double {
  var sums = [Double](repeating: 0, count: (n + grain - 1) / grain)
  sums.withUnsafeMutableBufferPointer { sums in
    let sums = Shared(sums)
    Threads.forEachRange(n, grain: grain) { sums.value[$0.lowerBound / grain] = partial($0) }
  }
  return sums.reduce(0, +)
}
