import Foundation
import SAE

/// Tells from the losses of a run's steps that it will come to nothing.
struct DivergenceWatch {
  /// Steps whose median a loss is held against, and that must have passed before it is.
  static let span = 101
  static let factor = 10.0

  private var recent: [Double] = []
  private var next = 0

  /// What is wrong after a step with `losses`; nil if nothing is.
  mutating func problem(_ losses: StepLosses, nLatents: Int) -> String? {
    let loss = losses.total
    guard loss.isFinite else { return "the loss is \(loss)" }
    if losses.nDead == nLatents { return "all \(nLatents) latents are dead" }
    if recent.count == Self.span {
      let median = recent.sorted()[Self.span / 2]
      if loss > Self.factor * median {
        return String(
          format: "the loss is %.4g, over %.0f times its median of %d steps, %.4g", loss, Self.factor, Self.span, median
        )
      }
      recent[next] = loss
      next = (next + 1) % Self.span
    } else {
      recent.append(loss)
    }
    return nil
  }
}
