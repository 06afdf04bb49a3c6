import ActCache
import LinearAlgebra
import SAE

/// Where the time of a training step goes, beside what the machine gives.
package struct StepProfile: Codable, Sendable {
  package struct Phase: Codable, Sendable {
    package var name: String
    /// Mean of the steps that were timed.
    package var secondsPerStep: Double
    /// Arithmetic that the phase cannot do without, per second; nil where that is not what it waits for.
    package var gflops: Double?
    /// Bytes that the phase cannot do without, per second.
    package var gigabytesPerSecond: Double?
  }

  package var phases: [Phase]
  /// What `MachineSpeed` measured: the two rates that bound the others; nil where it was not asked.
  package var machineGFLOPs: Double?
  package var machineGBs: Double?

  /// Share of all phases' time.
  package func share(of phase: Phase) -> Double {
    phase.secondsPerStep / max(1e-12, phases.reduce(0) { $0 + $1.secondsPerStep })
  }
}

/// Adds up the time of a step's phases.
final class PhaseClock {
  private var seconds: [StepPhase: Double] = [:]
  private var last = ContinuousClock.now

  func start() { last = ContinuousClock.now }

  func lap(_ phase: StepPhase) {
    let now = ContinuousClock.now
    seconds[phase, default: 0] += (now - last) / .seconds(1)
    last = now
  }

  func reset() { seconds = [:] }

  /// Per step, with the arithmetic that a code of `l0` latents per token needs: a product with the decoder and one with its
  /// transpose, and a sum into each gradient.
  ///
  /// - Parameters:
  ///   - product: seconds of the encoder's product alone.
  func phases(
    steps: Int, of configuration: SAEConfiguration, batch: Int, l0: Double, product: Double
  ) -> [StepProfile.Phase] {
    let (d, n) = (Double(configuration.dIn), Double(configuration.dSAE))
    func phase(_ name: String, _ seconds: Double, flop: Double? = nil) -> StepProfile.Phase {
      StepProfile.Phase(name: name, secondsPerStep: seconds, gflops: flop.map { $0 / max(seconds, 1e-12) / 1e9 })
    }
    return StepPhase.allCases.flatMap { kind -> [StepProfile.Phase] in
      guard let sum = seconds[kind] else { return [] }
      let time = sum / Double(steps)
      switch kind {
      case .encode:
        let alone = min(product, time)
        return [
          phase("encoder product", alone, flop: 2 * Double(batch) * d * n), phase("selection", time - alone),
        ]
      case .decode: return [phase("decode", time, flop: 4 * Double(batch) * d * l0)]
      case .gradients: return [phase("weight gradients", time, flop: 4 * Double(batch) * d * l0)]
      case .rule: return [phase("penalty", time)]
      case .hidden: return [phase("hidden layers", time)]
      case .rest: return [phase("rest", time)]
      }
    }
  }
}
