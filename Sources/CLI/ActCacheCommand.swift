import ArgumentParser
import Foundation
import LinearAlgebra

@main
struct ActCacheCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "actcache",
    abstract: "Run a transformer once over a corpus, keep its activations, train any number of sparse autoencoders.",
    subcommands: [BenchCommand.self])

  static func main() async {
    useFastKernels()
    await main(nil)
  }
}
