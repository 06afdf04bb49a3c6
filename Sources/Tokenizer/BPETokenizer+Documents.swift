import Dispatch
import Synchronization

extension BPETokenizer {
  /// The ids of many documents, several at a time; each as `encode` alone gives them, in the order of the documents.
  ///
  /// - Parameters:
  ///   - documents: valid UTF-8 each.
  ///   - threads: how many documents are encoded at a time; each thread keeps a word cache of its own.
  package func encode(documents: [[UInt8]], threads: Int, addSpecialTokens: Bool = false) -> [[UInt32]] {
    precondition(threads >= 1, "\(threads) threads")
    let next = Atomic<Int>(0)
    let results = Mutex([[UInt32]](repeating: [], count: documents.count))
    DispatchQueue.concurrentPerform(iterations: min(threads, documents.count)) { _ in
      let encoder = BPEEncoder(self)
      while true {
        let i = next.wrappingAdd(1, ordering: .relaxed).oldValue
        if i >= documents.count { return }
        var ids: [UInt32] = []
        encoder.encode(documents[i], addSpecialTokens: addSpecialTokens, into: &ids)
        results.withLock { $0[i] = ids }
      }
    }
    return results.withLock { $0 }
  }
}
