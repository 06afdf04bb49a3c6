/// Times encoding of documents.
package enum TokenizerBenchmark {
  package struct Result: Codable, Sendable {
    package var documents, bytes, ids, threads: Int
    /// Megabytes (10⁶) of text per second, the best of the repeats: on one thread with one word cache, and on all.
    package var singleThread: Double
    package var allThreads: Double
  }

  package static func run(_ tokenizer: BPETokenizer, _ documents: [[UInt8]], threads: Int, repeats: Int) -> Result {
    let bytes = documents.reduce(0) { $0 + $1.count }
    var count = 0
    func best(_ body: () -> Int) -> Double {
      var least = Double.infinity
      for _ in 0..<max(1, repeats) {
        let start = ContinuousClock.now
        count = body()
        least = min(least, (ContinuousClock.now - start) / .seconds(1))
      }
      return Double(bytes) / 1e6 / least
    }
    let single = best { tokenizer.encode(documents: documents, threads: 1).reduce(0) { $0 + $1.count } }
    let all = best { tokenizer.encode(documents: documents, threads: threads).reduce(0) { $0 + $1.count } }
    return Result(
      documents: documents.count, bytes: bytes, ids: count, threads: threads, singleThread: single, allThreads: all)
  }
}
