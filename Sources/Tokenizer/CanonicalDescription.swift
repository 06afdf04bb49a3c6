extension BPETokenizer {
  /// Bytes that are equal for tokenizers that give the same ids and texts for the same reasons, whatever file they
  /// came from; the digest of a tokenizer is a digest of these. About 1 MB for a vocabulary of 50,000.
  ///
  /// Tagged, length-prefixed, little-endian fields, in this order: version, vocabulary by id, merges by rank, model
  /// flags, added tokens by id, normalizer, pre-tokenizer, decoder, template, BOS and EOS.
  package var canonicalDescription: [UInt8] {
    var fields = CanonicalFields()
    fields.add("actcache tokenizer 1")
    let model = parts.model
    fields.add("vocabulary", model.tokens.count)
    for id in 0..<UInt32(model.tokens.idLimit) {
      guard let text = model.tokens.text(id) else { continue }
      fields.add(Int(id))
      fields.add(text)
    }
    let merges = model.merges.sorted()
    fields.add("merges", merges.count)
    // Ranks only order the merges; equal ranks must stay equal.
    var rank = -1
    var lastRank: UInt32?
    for merge in merges {
      if merge.merge.rank != lastRank { rank += 1 }
      lastRank = merge.merge.rank
      for number in [rank, Int(merge.left), Int(merge.right), Int(merge.merge.id)] { fields.add(number) }
    }
    fields.add("unknown", model.unknownID.map { Int($0) } ?? -1)
    fields.add("fuses unknown", model.fusesUnknown ? 1 : 0)
    fields.add("byte fallback", model.byteFallback ? 1 : 0)
    fields.add("ignores merges", model.ignoresMerges ? 1 : 0)
    fields.add("added tokens", parts.addedTokens.count)
    for token in parts.addedTokens.sorted(by: { $0.id < $1.id }) {
      fields.add(Int(token.id))
      fields.add(token.content[...])
      for flag in [token.singleWord, token.stripsLeft, token.stripsRight, token.isNormalized, token.isSpecial] {
        fields.add(flag ? 1 : 0)
      }
    }
    addPrograms(to: &fields)
    for (name, ids) in [("prefix", parts.prefixIDs), ("suffix", parts.suffixIDs)] {
      fields.add(name, ids.count)
      for id in ids { fields.add(Int(id)) }
    }
    fields.add("bos", parts.bosTokenID.map { Int($0) } ?? -1)
    fields.add("eos", parts.eosTokenID.map { Int($0) } ?? -1)
    return fields.bytes
  }

  private func addPrograms(to fields: inout CanonicalFields) {
    fields.add("normalizer", parts.normalizer.steps.count)
    for step in parts.normalizer.steps {
      switch step {
      case .nfc: fields.add("nfc")
      case .prepend(let text):
        fields.add("prepend")
        fields.add(text[...])
      case .replace(let pattern, let content):
        fields.add("replace")
        fields.add(pattern[...])
        fields.add(content[...])
      }
    }
    let preTokenizer = parts.preTokenizer
    fields.add("pre-tokenizer", preTokenizer.steps.count)
    for step in preTokenizer.steps {
      switch step {
      case .gpt2: fields.add("gpt2")
      case .llama3(let digits): fields.add("llama3", digits)
      case .digits(let individual): fields.add("digits", individual ? 1 : 0)
      }
    }
    fields.add("byte level", preTokenizer.isByteLevel ? 1 : 0)
    fields.add("prefix space", preTokenizer.addsPrefixSpace ? 1 : 0)
    if let metaspace = preTokenizer.metaspace {
      fields.add("metaspace", Int(metaspace.replacement))
      fields.add(metaspace.prepend.rawValue, metaspace.split ? 1 : 0)
    }
    switch parts.decoder {
    case .joined: fields.add("joined")
    case .byteLevel: fields.add("byte-level")
    case .pieces(let replacements, let byteFallback, let strip):
      fields.add("pieces", replacements.count)
      for replacement in replacements {
        fields.add(replacement.pattern[...])
        fields.add(replacement.content[...])
      }
      for number in [byteFallback ? 1 : 0, Int(strip.content), strip.count] { fields.add(number) }
    case .metaspace(let replacement, let dropsFirst):
      fields.add("metaspace", Int(replacement))
      fields.add(dropsFirst ? 1 : 0)
    }
  }
}

/// Fields one after the other, so that no two lists of fields give the same bytes.
private struct CanonicalFields {
  var bytes: [UInt8] = []

  mutating func add(_ number: Int) {
    let value = UInt64(bitPattern: Int64(number))
    for shift: UInt64 in [0, 8, 16, 24] { bytes.append(UInt8(truncatingIfNeeded: value >> shift)) }
  }

  mutating func add(_ text: ArraySlice<UInt8>) {
    add(text.count)
    bytes.append(contentsOf: text)
  }

  mutating func add(_ name: String) { add(Array(name.utf8)[...]) }

  mutating func add(_ name: String, _ number: Int) {
    add(name)
    add(number)
  }
}
