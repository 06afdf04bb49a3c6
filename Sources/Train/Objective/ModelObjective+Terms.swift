import LinearAlgebra
import SAE
import Transformer

extension ModelObjective {
  /// Adds the time of `body` to a part of `seconds`.
  func timed<R>(_ part: WritableKeyPath<ObjectiveSeconds, Double>, _ body: () throws -> R) rethrows -> R {
    let start = ContinuousClock.now
    defer { seconds[keyPath: part] += (ContinuousClock.now - start) / .seconds(1) }
    return try body()
  }

  /// A term at the model's output: its mean over the tokens scored, the cross-entropy of the next token, and the
  /// gradient by the final states of the former.
  private struct OutputTerm {
    let value: Double
    let nextToken: Double
    let gradient: SharedMatrix
  }

  /// The same term of several students' final states.
  private func outputTerms(_ states: [Strip], _ teacher: TeacherPredictions, _ step: Step) -> [OutputTerm] {
    let nextTokens = step.batch.nextTokens
    let nScored = nextTokens.count { $0 != nil }
    var (weights, nRows) = (step.rowWeights, step.batch.textRows.count)
    if case .nextTokens = teacher {
      nRows = nScored
      weights = nextTokens.map { $0 == nil ? 0 : 1 / Float(nScored) }
    }
    let gradients = states.map { SharedMatrix(Matrix(uninitialized: $0.rows, $0.columns)) }
    // Strips do not keep their matrices alive.
    let found = withExtendedLifetime(gradients) {
      outputLosses(
        states, unembedding: model.unembedding, teacher: teacher, nextTokens: nextTokens, weights: weights,
        dStates: gradients.map { $0.matrix.strip }, scratch: logits)
    }
    func mean(_ values: [Float], over n: Int) -> Double { values.reduce(0) { $0 + Double($1) } / Double(max(1, n)) }
    return zip(found, gradients).map { loss, gradient in
      OutputTerm(
        value: mean(loss.values, over: nRows), nextToken: mean(loss.nextToken ?? [], over: nScored), gradient: gradient)
    }
  }

  /// What the terms at the output found of one student: their values, Σ weight · value, and its gradient by the final states.
  struct Output {
    var kl: Double?
    var nextToken: Double?
    var total = 0.0
    let gradient: SharedMatrix
  }

  /// - Parameters:
  ///   - kl, nextToken: the terms that are meant, with the SAE or without.
  ///   - mses: of each student, where a term is to count as much as it (α of arXiv 2503.17272, a constant of the step).
  private func outputs(
    of states: [Strip], kl: Objective.Term, nextToken: Objective.Term, _ step: Step, balancing mses: [Double]? = nil
  ) -> [Output] {
    var outputs = states.map { Output(gradient: SharedMatrix(Matrix($0.rows, $0.columns))) }
    func add(_ term: OutputTerm, times constant: Double, to i: Int) {
      let weight = constant * (mses.map { $0[i] / (term.value + 1e-8) } ?? 1)
      var gradient = outputs[i].gradient.matrix.copy()
      gradient.add(term.gradient.matrix, times: Float(weight))
      outputs[i] = Output(
        kl: outputs[i].kl, nextToken: term.nextToken, total: outputs[i].total + weight * term.value,
        gradient: SharedMatrix(gradient))
    }
    if let teacher = step.teacher, step.weight(kl) > 0 {
      for (i, term) in outputTerms(states, teacher, step).enumerated() {
        add(term, times: step.weight(kl), to: i)
        outputs[i].kl = term.value
      }
    }
    if step.weight(nextToken) > 0 {
      for (i, term) in outputTerms(states, .nextTokens, step).enumerated() {
        add(term, times: step.weight(nextToken), to: i)
      }
    }
    return outputs
  }

  /// The terms at the output for each student; nil if there are none.
  func output(_ tasks: [Task], _ step: Step) -> [Output]? {
    guard step.readsOutput else { return nil }
    return timed(\.output) {
      outputs(
        of: tasks.map { $0.pass.finalState.strip }, kl: .kl, nextToken: .nextToken, step,
        balancing: objective.balances ? tasks.map(\.mse) : nil)
    }
  }

  /// The terms of the changed model without the SAE; their gradient at the hook.
  func withoutSAE(_ step: Step, _ losses: inout ObjectiveLosses) throws -> SharedMatrix? {
    guard step.weight(.klWithoutSAE) > 0 || step.weight(.nextTokenWithoutSAE) > 0 else { return nil }
    let pass = passes[0]
    try timed(\.layers) {
      try pass.forward(step.x.matrix, nSequences: step.batch.nSequences, nPositions: step.batch.nPositions)
    }
    let found = timed(\.output) {
      outputs(of: [pass.finalState.strip], kl: .klWithoutSAE, nextToken: .nextTokenWithoutSAE, step)[0]
    }
    (losses.klWithoutSAE, losses.nextTokenWithoutSAE) = (found.kl, found.nextToken)
    losses.sae.total += found.total
    var gradient = Matrix(0, 0)
    timed(\.layers) { pass.backward(dFinalState: found.gradient, into: &gradient) }
    return SharedMatrix(gradient)
  }

  /// The SAE's reconstruction in the place of x, and the layers after it.
  func forward(_ student: Student, _ pass: DifferentiablePass, _ step: Step) throws -> Task {
    let rows = step.batch.saeRows
    var source = step.source.matrix.gather(rows: rows)
    var recon = Matrix(uninitialized: rows.count, step.x.matrix.columns)
    var value = step.x.matrix.copy()
    let moments = timed(\.sae) {
      let moments = student.normalization.apply(to: &source)
      student.sae.forward(source, into: &recon)
      var raw = recon.copy()
      if let factor = student.targetScale {
        raw.scale(by: 1 / factor)
      } else {
        student.normalization.restore(&raw, moments)
      }
      value.scatter(raw, rows: rows)
      return moments
    }
    let input = SharedMatrix(source)
    let target =
      student.targetScale.map { factor in
        var target = step.x.matrix.gather(rows: rows)
        target.scale(by: factor)
        return SharedMatrix(target)
      } ?? input
    recon.add(target.matrix, times: -1)
    let mse = sumOfSquares(recon) / Double(recon.count)
    let task = Task(
      student: student, pass: pass, input: input, moments: moments, target: target, error: SharedMatrix(recon),
      mse: mse)
    try timed(\.layers) {
      try pass.forward(
        value, base: step.base?.matrix.strip, nSequences: step.batch.nSequences, nPositions: step.batch.nPositions,
        toFinalState: step.readsOutput)
    }
    return task
  }

  /// (a′ − a)² at the later streams: their losses, and their gradients there.
  private func downstreamGradients(
    _ pass: DifferentiablePass, _ step: Step, _ losses: inout ObjectiveLosses
  ) -> [HookPoint: SharedMatrix] {
    let weight = step.weight(.downstream) / Double(max(1, plan.downstream.count))
    if weight == 0 { return [:] }
    let text = step.batch.textRows
    var gradients: [HookPoint: SharedMatrix] = [:]
    losses.downstream = []
    for (hook, square) in zip(plan.downstream, squaredScales) {
      guard let original = step.batch.streams[hook] else { preconditionFailure("the batch lacks \(hook)") }
      var error = pass.value(at: hook).matrix.gather(rows: text)
      error.add(original.matrix.gather(rows: text), times: -1)
      let mse = square * sumOfSquares(error) / Double(error.count)
      losses.downstream?.append(mse)
      losses.sae.total += weight * mse
      var gradient = Matrix(step.batch.nRows, original.matrix.columns)
      gradient.scatter(error, rows: text, times: Float(2 * weight * square / Double(error.count)))
      gradients[hook] = SharedMatrix(gradient)
    }
    return gradients
  }

  /// Back to the SAE's parameters, and to the half-layer before it.
  func backward(
    _ task: Task, _ step: Step, dFinal: SharedMatrix?, _ found: ObjectiveLosses, dLead: SharedMatrix?
  ) -> ObjectiveLosses {
    var losses = found
    let (rows, normalization) = (step.batch.saeRows, task.student.normalization)
    var dValue = Matrix(0, 0)
    timed(\.layers) {
      task.pass.backward(
        dFinalState: dFinal, dDownstream: downstreamGradients(task.pass, step, &losses), into: &dValue)
    }
    let dInput = Matrix(lead == nil ? 0 : rows.count, task.input.matrix.columns)
    timed(\.sae) {
      var dRecon = dValue.gather(rows: rows)
      if let factor = task.student.targetScale {
        dRecon.scale(by: 1 / factor)
      } else {
        normalization.passBackThroughRestoring(&dRecon, task.moments)
      }
      let local = step.weight(.local)
      if local > 0 { dRecon.add(task.error.matrix, times: Float(2 * local / Double(dRecon.count))) }
      let own = task.student.sae.backward(dRecon, dInput: lead == nil ? nil : dInput.strip)
      let total = losses.sae.total + own.total + local * task.mse
      losses.sae = own
      losses.sae.total = total
      losses.sae.mse = task.mse
      let variance = totalVariance(task.target.matrix)
      losses.sae.fvu = variance > 0 ? task.mse * Double(dRecon.count) / variance : 0
    }
    guard let lead else { return losses }
    timed(\.layers) {
      // Tokens that pass by the SAE have the gradient of the value itself.
      guard case .factor(let scale) = normalization else { preconditionFailure("half-layers with moments of tokens") }
      dValue.scatter(dInput, rows: rows, times: scale)
      if let dLead { dValue.add(dLead.matrix) }
      var unused = Matrix(0, 0)
      lead.backward(dFinalState: nil, dDownstream: [plan.hook: SharedMatrix(dValue.copy())], into: &unused)
    }
    return losses
  }
}
