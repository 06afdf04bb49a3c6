import LinearAlgebra

/// Tokens of a batch that one thread takes, and what it adds up of them.
private final class DeepLane {
  let tokens: Range<Int>
  let sums: DeepNetwork.Sums
  var losses = StepLosses()
  /// Σ of the squares of the error.
  var squares = 0.0
  /// On how many tokens each latent is active. [dSAE]
  var uses: [Int]

  init(_ tokens: Range<Int>, _ sums: DeepNetwork.Sums, nLatents: Int) {
    (self.tokens, self.sums) = (tokens, sums)
    uses = [Int](repeating: 0, count: nLatents)
  }
}

/// A batch goes through in parts of bounded size, each from the input to all gradients in one go (`DeepPass`). While the weights
/// are few, lanes of 512 tokens or more each have a thread, and sums of gradients that are added in order; else there is one
/// lane, whose kernels share the threads. Lanes and parts follow from the sizes alone, so results do not depend on threads.
extension Deep {
  private func cut(_ tokens: Range<Int>, by rows: Int) -> [Range<Int>] {
    stride(from: tokens.lowerBound, to: tokens.upperBound, by: rows).map { $0..<min($0 + rows, tokens.upperBound) }
  }

  /// At most 16.
  private func lanes(of tokens: Int) -> [Range<Int>] {
    cut(0..<tokens, by: laneRows.map { max($0, (tokens + 15) / 16) } ?? tokens)
  }

  /// Calls `body` for each part of each lane, with the pass of its thread.
  private func forEachPart(
    of lanes: [Range<Int>], _ body: (_ lane: Int, _ part: Range<Int>, _ pass: DeepPass) -> Void
  ) {
    while passes.count < min(Threads.count, lanes.count) { passes.append(DeepPass(network, rule)) }
    let passes = passes
    // One thread's phases stand for all.
    passes[0].onPhase = onPhase
    if lanes.count == 1 {
      for part in cut(lanes[0], by: partRows) { body(0, part, passes[0]) }
    } else {
      Threads.forEachAlone(lanes.count, limit: passes.count) { worker, lane in
        for part in cut(lanes[lane], by: partRows) { body(lane, part, passes[worker]) }
      }
    }
    passes[0].onPhase = nil
  }

  /// Gradients of all parameters. `setGradient` puts dLoss/dx̂ of a part that was just encoded into `output`, and returns Σ of
  /// the squares of the error.
  private func propagate(
    _ x: Strip, dInput: Strip? = nil,
    _ setGradient: (_ part: Range<Int>, _ pass: DeepPass, _ output: Strip) -> Double
  ) -> (squares: Double, losses: StepLosses) {
    let ranges = lanes(of: x.rows)
    while laneGradients.count < ranges.count - 1 {
      laneGradients.append(SharedMatrix(Matrix(uninitialized: 1, network.count)))
    }
    let own = network.parameters.map { $0.overwrittenGradient() }
    let lanes = ranges.enumerated().map { i, tokens in
      DeepLane(
        tokens, i == 0 ? network.sums(in: own) : network.sums(in: laneGradients[i - 1].matrix.strip),
        nLatents: configuration.dSAE)
    }
    onPhase?(.rest)
    forEachPart(of: ranges) { i, part, pass in
      let lane = lanes[i]
      let rows = x.rows(part)
      pass.encode(rows, isTraining: true)
      lane.squares += setGradient(part, pass, pass.output(rows: part.count))
      pass.propagate(
        x: rows, batchRows: x.rows, sums: lane.sums,
        accumulating: part.lowerBound > lane.tokens.lowerBound, uses: &lane.uses, losses: &lane.losses,
        dInput: dInput?.rows(part))
    }
    addSums(Array(laneGradients.prefix(ranges.count - 1)), to: own)
    var losses = StepLosses()
    var uses = [Int](repeating: 0, count: configuration.dSAE)
    for lane in lanes {
      losses.add(lane.losses)
      for j in uses.indices { uses[j] += lane.uses[j] }
    }
    losses.nDead = activity.dead(after: configuration.deadTokens).count
    activity.record(uses: uses, nEntries: uses.reduce(0, +), tokens: x.rows)
    losses.l0 = activity.activeFraction * Double(configuration.dSAE)
    return (lanes.reduce(0) { $0 + $1.squares }, losses)
  }

  package func computeGradients(_ x: borrowing Matrix) -> StepLosses {
    let (tokens, d) = (x.rows, configuration.dIn)
    precondition(x.columns == d && tokens > 0, "batch [\(tokens), \(x.columns)] for dIn \(d)")
    let input = x.strip
    var (squares, losses) = propagate(input) { part, pass, output in
      pass.decode(pass.code, into: output)
      return subtract(input.rows(part), from: output, scale: 2 / Float(tokens * d))
    }
    losses.mse = squares / Double(tokens * d)
    let variance = totalVariance(x)
    losses.fvu = variance > 0 ? squares / variance : 0
    losses.total += losses.mse
    onPhase?(.rest)
    return losses
  }

  package func forward(_ x: borrowing Matrix, into recon: inout Matrix) {
    precondition(
      x.columns == configuration.dIn && x.rows > 0 && recon.rows == x.rows && recon.columns == x.columns,
      "batch [\(x.rows), \(x.columns)] into [\(recon.rows), \(recon.columns)] for dIn \(configuration.dIn)")
    input = SharedMatrix(x.copy())
    let (rows, result) = (x.strip, recon.strip)
    forEachPart(of: lanes(of: x.rows)) { _, part, pass in
      pass.encode(rows.rows(part), isTraining: true)
      pass.decode(pass.code, into: result.rows(part))
    }
  }

  package func backward(_ dRecon: borrowing Matrix, dInput: Strip?) -> StepLosses {
    let input = input
    precondition(
      dRecon.rows == input.matrix.rows && dRecon.columns == input.matrix.columns,
      "gradient [\(dRecon.rows), \(dRecon.columns)] for the batch [\(input.matrix.rows), \(input.matrix.columns)]")
    let gradient = dRecon.strip
    // Encoded again: what a part left in `forward` is no longer there.
    return propagate(input.matrix.strip, dInput: dInput) { part, pass, output in
      pass.decodeHidden(pass.code)
      output.assign(gradient.rows(part))
      return 0
    }.losses
  }
}
