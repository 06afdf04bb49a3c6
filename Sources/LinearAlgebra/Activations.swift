/// The nonlinearity of an MLP.
package enum Activation: String, Codable, Sendable {
  /// x·Φ(x), exact
  case gelu
  /// ½x(1 + tanh(√(2/π)(x + 0.044715x³)))
  case geluTanh
  /// x·sigmoid(x)
  case silu
  case relu

  @inline(__always) func callAsFunction(_ x: Lanes) -> Lanes {
    switch self {
    case .gelu: return 0.5 * x * (1 + erf(x * 0.707_106_781))
    // ½(1 + tanh u) = sigmoid(2u), without the cancellation for negative u.
    case .geluTanh: return x * sigmoid(1.595_769_12 * (x + 0.044_715 * x * x * x))
    case .silu: return x * sigmoid(x)
    case .relu: return x.replacing(with: 0, where: x .< 0)
    }
  }
}

/// x ← activation(x + bias), in place.
///
/// - Parameters:
///   - x: [rows, N].
///   - bias: [1, N] or none.
package func activate(_ x: Strip, _ activation: Activation, bias: Strip?) {
  precondition(bias.map { $0.columns == x.columns } ?? true, "a bias of \(bias?.columns ?? 0) for \(x.columns) columns")
  // One loop per nonlinearity, so that the choice is not made again for every vector.
  switch activation {
  case .gelu: forEachVector(of: x, adding: bias) { Activation.gelu($0) }
  case .geluTanh: forEachVector(of: x, adding: bias) { Activation.geluTanh($0) }
  case .silu: forEachVector(of: x, adding: bias) { Activation.silu($0) }
  case .relu: forEachVector(of: x, adding: bias) { Activation.relu($0) }
  }
}

/// post = activation(gate)·up: the middle of a gated MLP (SwiGLU for silu).
///
/// - Parameters:
///   - gateUp: [rows, 2N]: the gate's columns, then the linear ones.
///   - post: [rows, N], overwritten.
package func gatedActivation(_ gateUp: Strip, _ activation: Activation, into post: Strip) {
  let n = post.columns
  precondition(
    gateUp.rows == post.rows && gateUp.columns == 2 * n,
    "[\(gateUp.rows), \(gateUp.columns)] into [\(post.rows), \(n)]")
  switch activation {
  case .gelu: gated(gateUp, into: post) { Activation.gelu($0) }
  case .geluTanh: gated(gateUp, into: post) { Activation.geluTanh($0) }
  case .silu: gated(gateUp, into: post) { Activation.silu($0) }
  case .relu: gated(gateUp, into: post) { Activation.relu($0) }
  }
}

@inline(__always)
private func forEachVector(of x: Strip, adding bias: Strip?, _ f: (Lanes) -> Lanes) {
  let n = x.columns
  let whole = n & ~15
  let b = bias.map { UnsafePointer($0.base) }
  for i in 0..<x.rows {
    let row = x.row(i)
    for j in stride(from: 0, to: whole, by: 16) {
      var v = row.lanes(at: j)
      if let b { v += b.lanes(at: j) }
      row.store(f(v), at: j)
    }
    if whole < n {
      var v = Lanes.zero
      for j in whole..<n { v[j - whole] = row[j] + (b?[j] ?? 0) }
      v = f(v)
      for j in whole..<n { row[j] = v[j - whole] }
    }
  }
}

@inline(__always)
private func gated(_ gateUp: Strip, into post: Strip, _ f: (Lanes) -> Lanes) {
  let n = post.columns
  let whole = n & ~15
  for i in 0..<post.rows {
    let gate = gateUp.row(i)
    let up = gate + n
    let row = post.row(i)
    for j in stride(from: 0, to: whole, by: 16) { row.store(f(gate.lanes(at: j)) * up.lanes(at: j), at: j) }
    if whole < n {
      var v = Lanes.zero
      for j in whole..<n { v[j - whole] = gate[j] }
      v = f(v)
      for j in whole..<n { row[j] = v[j - whole] * up[j] }
    }
  }
}
