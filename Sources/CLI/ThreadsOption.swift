import ArgumentParser
import LinearAlgebra

/// `--threads`, for the commands that compute.
struct ThreadsOption: ParsableArguments {
  @Option(help: "Threads, 1 to 1024; by default the machine's cores. Results do not depend on it.") var threads: Int?

  func validate() throws {
    if let threads, !(1...1024).contains(threads) {
      throw ValidationError("--threads \(threads): allowed are 1 to 1024")
    }
  }

  func apply() {
    if let threads { Threads.count = threads }
  }
}
