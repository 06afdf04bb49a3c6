// The nonlinearities with their derivatives: taken on the way forward, where value and derivative share the
// exponential, so that the way back is one product per element.

extension Activation {
  /// f(x), the same bits as `callAsFunction`, and f′(x).
  @inline(__always) func valueAndDerivative(_ x: Lanes) -> (Lanes, Lanes) {
    switch self {
    case .gelu:
      // Φ(x) + x·φ(x)
      let twice = 1 + erf(x * 0.707_106_781)
      let density = exp(-0.5 * x * x) * 0.398_942_28
      return (0.5 * x * twice, (0.5 * twice).addingProduct(x, density))
    case .geluTanh:
      // x·sigmoid(u) with u = √(8/π)·(x + 0.044715x³)
      let s = sigmoid(1.595_769_12 * (x + 0.044_715 * x * x * x))
      let slope = Lanes(repeating: 1.595_769_12).addingProduct(Lanes(repeating: 0.214_064_449), x * x)
      let value = x * s
      return (value, s.addingProduct(value * (1 - s), slope))
    case .silu:
      let s = sigmoid(x)
      let value = x * s
      return (value, s.addingProduct(value, 1 - s))
    case .relu:
      return (x.replacing(with: 0, where: x .< 0), Lanes(repeating: 1).replacing(with: 0, where: x .<= 0))
    }
  }
}

/// post = activation(x + bias), and x ← its derivative.
///
/// - Parameters:
///   - x: [rows, N], overwritten.
///   - bias: [1, N] or none.
///   - post: [rows, N], overwritten; the bits that `activate` gives.
package func activateAndDerive(_ x: Strip, _ activation: Activation, bias: Strip?, into post: Strip) {
  precondition(bias.map { $0.columns == x.columns } ?? true, "a bias of \(bias?.columns ?? 0) for \(x.columns) columns")
  precondition(
    post.rows == x.rows && post.columns == x.columns,
    "[\(x.rows), \(x.columns)] into [\(post.rows), \(post.columns)]")
  switch activation {
  case .gelu: derive(x, bias, into: post) { Activation.gelu.valueAndDerivative($0) }
  case .geluTanh: derive(x, bias, into: post) { Activation.geluTanh.valueAndDerivative($0) }
  case .silu: derive(x, bias, into: post) { Activation.silu.valueAndDerivative($0) }
  case .relu: derive(x, bias, into: post) { Activation.relu.valueAndDerivative($0) }
  }
}

/// post = activation(gate)·up, and gateUp ← its derivatives by gate and by up, side by side.
///
/// - Parameters:
///   - gateUp: [rows, 2N], overwritten.
///   - post: [rows, N], overwritten; the bits that `gatedActivation` gives.
package func gatedActivationAndDerive(_ gateUp: Strip, _ activation: Activation, into post: Strip) {
  let n = post.columns
  precondition(
    gateUp.rows == post.rows && gateUp.columns == 2 * n,
    "[\(gateUp.rows), \(gateUp.columns)] into [\(post.rows), \(n)]")
  switch activation {
  case .gelu: deriveGated(gateUp, into: post) { Activation.gelu.valueAndDerivative($0) }
  case .geluTanh: deriveGated(gateUp, into: post) { Activation.geluTanh.valueAndDerivative($0) }
  case .silu: deriveGated(gateUp, into: post) { Activation.silu.valueAndDerivative($0) }
  case .relu: deriveGated(gateUp, into: post) { Activation.relu.valueAndDerivative($0) }
  }
}

/// The way back of both: dWide = dPost·derivative, for every block of N columns of the derivatives.
///
/// - Parameters:
///   - dPost: [rows, N].
///   - derivatives: [rows, N] or [rows, 2N], as `activateAndDerive` or `gatedActivationAndDerive` left them.
///   - dWide: of the derivatives' shape, overwritten; may be `derivatives`.
package func activationBackward(_ dPost: Strip, derivatives: Strip, into dWide: Strip) {
  let n = dPost.columns
  precondition(
    derivatives.rows == dPost.rows && derivatives.columns % max(1, n) == 0 && dWide.rows == dPost.rows
      && dWide.columns == derivatives.columns,
    "[\(dPost.rows), \(n)], [\(derivatives.rows), \(derivatives.columns)] into [\(dWide.rows), \(dWide.columns)]")
  let whole = n & ~15
  for i in 0..<dPost.rows {
    let dy = dPost.row(i)
    for first in stride(from: 0, to: derivatives.columns, by: max(1, n)) {
      let (slope, dx) = (derivatives.row(i) + first, dWide.row(i) + first)
      for j in stride(from: 0, to: whole, by: 16) { dx.store(dy.lanes(at: j) * slope.lanes(at: j), at: j) }
      for j in whole..<n { dx[j] = dy[j] * slope[j] }
    }
  }
}

@inline(__always)
private func derive(_ x: Strip, _ bias: Strip?, into post: Strip, _ f: (Lanes) -> (Lanes, Lanes)) {
  let n = x.columns
  let whole = n & ~15
  let b = bias.map { UnsafePointer($0.base) }
  for i in 0..<x.rows {
    let (row, out) = (x.row(i), post.row(i))
    for j in stride(from: 0, to: whole, by: 16) {
      var v = row.lanes(at: j)
      if let b { v += b.lanes(at: j) }
      let (value, derivative) = f(v)
      out.store(value, at: j)
      row.store(derivative, at: j)
    }
    if whole < n {
      var v = Lanes.zero
      for j in whole..<n { v[j - whole] = row[j] + (b?[j] ?? 0) }
      let (value, derivative) = f(v)
      for j in whole..<n { (out[j], row[j]) = (value[j - whole], derivative[j - whole]) }
    }
  }
}

@inline(__always)
private func deriveGated(_ gateUp: Strip, into post: Strip, _ f: (Lanes) -> (Lanes, Lanes)) {
  let n = post.columns
  let whole = n & ~15
  for i in 0..<post.rows {
    let gate = gateUp.row(i)
    let (up, out) = (gate + n, post.row(i))
    for j in stride(from: 0, to: whole, by: 16) {
      let (value, derivative) = f(gate.lanes(at: j))
      let factor = up.lanes(at: j)
      out.store(value * factor, at: j)
      gate.store(derivative * factor, at: j)
      up.store(value, at: j)
    }
    if whole < n {
      var v = Lanes.zero
      for j in whole..<n { v[j - whole] = gate[j] }
      let (value, derivative) = f(v)
      for j in whole..<n {
        let factor = up[j]
        out[j] = value[j - whole] * factor
        gate[j] = derivative[j - whole] * factor
        up[j] = value[j - whole]
      }
    }
  }
}
