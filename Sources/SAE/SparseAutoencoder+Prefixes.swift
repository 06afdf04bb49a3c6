import LinearAlgebra

extension SparseAutoencoder {
  /// Room for the residuals of the rule's prefixes, the last of which is the workspace's own; nil without prefixes.
  func nestedResiduals() -> NestedResiduals? {
    let prefixes = rule.prefixes
    guard prefixes.count > 1 else { return nil }
    let tokens = workspace.centred.rows
    workspace.reservePrefixes(rows: (prefixes.count - 1) * tokens, width: configuration.outWidth)
    let inner = workspace.prefixResiduals.strip
    return NestedResiduals(
      ends: prefixes,
      strips: (0..<prefixes.count - 1).map { inner.rows($0 * tokens..<($0 + 1) * tokens) } + [workspace.residual.strip])
  }

  /// The step of `computeGradients` where the loss is the mean over prefixes of mean e². Fills the residual and sums of
  /// those of the prefixes; returns Σ residual², and on how many tokens each latent was active.
  func nestedStep(
    _ nested: NestedResiduals, scale: Float, losses: inout StepLosses
  ) -> (squares: Double, uses: [Int]) {
    let all = 0..<workspace.centred.rows
    encode(all)
    let scale = scale / Float(nested.strips.count)
    let squares = withDecoder {
      decodeNestedResiduals(&workspace.code, $0, target: target, scale: scale, into: nested)
    }
    onPhase?(.decode)
    let whole = squares[squares.count - 1]
    // The caller adds the mean square of the whole.
    let mean = squares.reduce(0, +) / Double(squares.count)
    losses.total += (mean - whole) / Double(workspace.residual.count)
    var uses = [Int](repeating: 0, count: configuration.dSAE)
    propagate(all, nested: nested, scale: scale, uses: &uses, losses: &losses)
    return (whole, uses)
  }
}
