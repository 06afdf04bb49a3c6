extension Manifest {
  /// What this manifest says otherwise than `old`, a clause each; empty if it says the same.
  package func changes(since old: Manifest) -> [String] {
    if self == old { return [] }
    guard baseKey == old.baseKey else {
      return ["it is of the cache \(baseKey.prefix(12)), it was of \(old.baseKey.prefix(12))"]
    }
    var changes: [String] = []
    func change(_ name: String, _ before: some CustomStringConvertible, _ after: some CustomStringConvertible) {
      if "\(before)" != "\(after)" { changes.append("\(name) \(after), it was \(before)") }
    }
    change("generation", old.generation, generation)
    change("sequences", old.nSequences, nSequences)
    change("shards", old.shards.count, shards.count)
    change("held-out sequences", old.heldOut.count, heldOut.count)
    for (before, after) in [(old.hooks, hooks), (old.logits, logits)] {
      for name in Set(before.keys).union(after.keys).sorted() {
        switch (before[name], after[name]) {
        case (nil, _): changes.append("\(name) is new")
        case (_, nil): changes.append("\(name) is gone")
        case (let before?, let after?):
          change("\(name): sequences", before.nSequences, after.nSequences)
          change("\(name): bytes", before.bytes, after.bytes)
        }
      }
    }
    return changes.isEmpty ? ["other digests or statistics"] : changes
  }
}
