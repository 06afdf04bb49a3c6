import ArgumentParser
import Foundation
import LinearAlgebra
import SAE
import Train

struct BenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench", abstract: "Measure this machine on ActCache's own work.",
    subcommands: [BenchTrainCommand.self])
}

struct BenchTrainCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "train", abstract: "Time training steps on synthetic activations.")

  @Option(help: "topk or relu.") var arch = SAEConfiguration.Architecture.topk
  @Option(help: "Width of the activations.") var d = 768
  @Option(help: "Number of latents.") var latents = 24_576
  @Option(help: "topk: active latents per token.") var k = 32
  @Option(help: "relu: λ of the L1 penalty.") var l1: Float = 1
  @Option(help: "Tokens per step.") var batch = 4096
  @Option(help: "Steps to time, after two that are not counted.") var steps = 8
  @Option(help: "Threads; by default the machine's cores.") var threads: Int?
  @Flag(help: "Print one JSON object.") var json = false

  func run() throws {
    if let threads { Threads.count = threads }
    let configuration = SAEConfiguration(architecture: arch, dIn: d, dSAE: latents, k: k, l1: l1)
    let result = try TrainBenchmark(configuration, batch: batch, steps: max(1, steps)).run()
    if json {
      let encoder = JSONEncoder()
      encoder.outputFormatting = .sortedKeys
      print(String(decoding: try encoder.encode(result), as: UTF8.self))
      return
    }
    print(
      """
      \(arch.rawValue), d \(d), \(latents) latents, k \(k), batch \(batch), \(result.threads) threads, \
      OpenBLAS \(BLASLibrary.coreName)
      \(Int(result.tokensPerSecond)) tokens/s; \(fixed(result.medianSecondsPerStep * 1e3, 1)) ms/step \
      (\(fixed(result.minSecondsPerStep * 1e3, 1)) to \(fixed(result.maxSecondsPerStep * 1e3, 1)) of \(steps)); \
      L0 \(fixed(result.l0, 1)); encoder's share of arithmetic \(Int(result.encoderGFLOPs)) GFLOP/s
      """)
  }

  private func fixed(_ value: Double, _ digits: Int) -> String { String(format: "%.\(digits)f", value) }
}

extension SAEConfiguration.Architecture: ExpressibleByArgument {}
