import Foundation
import LinearAlgebra
import SAE

/// What a step of the local objective would take in the place of each step with the model: SAE and optimizer, without
/// reading. Timed at the first such step of a process, and whenever their number has doubled, on a copy of the SAE, so that
/// the run stays as it is.
final class LocalStepTime {
  private static let (uncounted, counted) = (1, 2)
  private var nSteps = 0
  private var seconds = 0.0

  /// Of the step that found `found`, before the optimizer has changed the SAE; 0 where the copy might take too much memory.
  func next(_ session: TrainSession, _ found: ModelObjective.Found) throws -> Double {
    defer { nSteps += 1 }
    guard nSteps & (nSteps - 1) == 0 else { return seconds }
    let configuration = session.configuration
    let bytes = try configuration.memoryBytes(
      width: found.input.matrix.columns, targetWidth: found.target.matrix.columns)
    if bytes > Double(ProcessInfo.processInfo.physicalMemory) / 8 { return 0 }
    seconds = try Self.seconds(
      session.sae, configuration.optimizerConfiguration, step: session.step, of: session.nSteps, found)
    return seconds
  }

  /// The time of one step on the batch of `found`.
  static func seconds(
    _ sae: any Autoencoder, _ optimizer: OptimizerConfiguration, step: Int, of nSteps: Int,
    _ found: ModelObjective.Found
  ) throws(SAEError) -> Double {
    var shape = sae.configuration
    // An orthogonal one would take long.
    shape.initialization.decoder = .random
    let copy = try shape.makeAutoencoder(seed: 0)
    for (mine, theirs) in zip(copy.parameters, sae.parameters) { mine.value = theirs.value.copy() }
    (copy.activity, copy.state) = (sae.activity, sae.state)
    let optimizer = Optimizer(copy.parameters, optimizer)
    var start = ContinuousClock.now
    for i in 0..<uncounted + counted {
      if i == uncounted { start = ContinuousClock.now }
      copy.begin(step: step, of: nSteps)
      _ =
        shape.isTranscoder
        ? copy.computeGradients(found.input.matrix, target: found.target.matrix)
        : copy.computeGradients(found.input.matrix)
      // What a step costs depends on the weights, which stay.
      optimizer.apply(learningRate: 0)
    }
    return (ContinuousClock.now - start) / .seconds(1) / Double(counted)
  }
}
