import Foundation
import Testing
import Tokenizer

/// Equality with Hugging Face `tokenizers`, on the fixture that scripts/fixtures/tokenizer.py made with it.
@Suite struct ExactnessTests {
  @Test(arguments: TokenizerFixture.names)
  func idsAndTextsOfEachCaseAreThoseOfTokenizers(name: String) throws {
    let fixture = try TokenizerFixture.load()
    let tokenizer = try TokenizerFixture.tokenizer(name)
    let encoder = BPEEncoder(tokenizer)
    for example in fixture.cases {
      let expected = try #require(example.tokenizers[name])
      var ids: [UInt32] = []
      encoder.encode(Array(example.text.utf8), into: &ids)
      #expect(ids == expected.ids, "\(example.text.debugDescription)")
      #expect(Array(tokenizer.decode(ids).utf8) == Array(expected.decoded.utf8), "\(example.text.debugDescription)")
      #expect(tokenizer.encode(example.text, addSpecialTokens: true).count == ids.count + expected.special)
    }
  }

  /// 2,000 random texts of every category, a tenth of them in debug builds.
  @Test(arguments: TokenizerFixture.names)
  func randomTextsGiveTheDigestsOfTokenizers(name: String) throws {
    let fixture = try TokenizerFixture.load()
    let tokenizer = try TokenizerFixture.tokenizer(name)
    let encoder = BPEEncoder(tokenizer)
    var random = SplitMix64(state: 7)
    for (block, expected) in try Self.sample(#require(fixture.digests[name]).fuzz).enumerated() {
      var digest = IDDigest()
      for _ in 0..<fixture.fuzzTexts {
        let text = fixture.fuzzText(&random)
        var ids: [UInt32] = []
        encoder.encode(text, into: &ids)
        digest.add(ids)
        digest.add(tokenizer.encode(text, addSpecialTokens: true))
        digest.add(tokenizer.decode(ids, skipSpecialTokens: false))
      }
      #expect(digest.text == expected, "seed 7, block \(block)")
    }
  }

  /// Lists of random ids, special tokens and ids without a token among them, are seldom UTF-8.
  @Test(arguments: TokenizerFixture.names)
  func randomIDsDecodeToTheDigestsOfTokenizers(name: String) throws {
    let fixture = try TokenizerFixture.load()
    let tokenizer = try TokenizerFixture.tokenizer(name)
    var random = SplitMix64(state: 8)
    for (block, expected) in try Self.sample(#require(fixture.digests[name]).decode).enumerated() {
      var digest = IDDigest()
      for _ in 0..<fixture.fuzzTexts {
        var ids: [UInt32] = []
        for _ in 0..<random.below(40) { ids.append(UInt32(random.below(tokenizer.vocabularySize + 3))) }
        digest.add(tokenizer.decode(ids, skipSpecialTokens: false))
        digest.add(tokenizer.decode(ids, skipSpecialTokens: true))
      }
      #expect(digest.text == expected, "seed 8, block \(block)")
    }
  }

  private static func sample(_ digests: [String]) -> ArraySlice<String> {
    #if DEBUG
      digests.prefix(2)
    #else
      digests[...]
    #endif
  }

  @Test func aTokenizerFromGGUFGivesTheIDsOfItsJSON() throws {
    let fixture = try TokenizerFixture.load()
    for (name, pre) in [("gpt-neox-like", "gpt-neox"), ("smollm-like", "smollm"), ("llama3-like", "llama-bpe")] {
      let json = try TokenizerFixture.tokenizer(name)
      var vocabulary = try GGUFExport(TokenizerFixture.folder.appendingPathComponent(name + ".json")).vocabulary
      vocabulary.pre = pre
      vocabulary.bosTokenID = json.bosTokenID
      try Self.compare(vocabulary.makeTokenizer(), json, fixture)
    }
  }

  @Test func sentencePieceScoresGiveTheIDsOfTheirMerges() throws {
    let json = try TokenizerFixture.tokenizer("sentencepiece-like")
    var vocabulary = try GGUFExport(TokenizerFixture.folder.appendingPathComponent("sentencepiece-like.json"))
      .vocabulary
    vocabulary.model = "llama"
    vocabulary.merges = []
    vocabulary.scores = vocabulary.tokens.indices.map { -Float($0) }
    vocabulary.bosTokenID = 1
    vocabulary.unknownTokenID = 0
    let tokenizer = try vocabulary.makeTokenizer()
    #expect(tokenizer.prependsBOS)
    try Self.compare(tokenizer, json, TokenizerFixture.load())
  }

  private static func compare(
    _ tokenizer: BPETokenizer, _ other: BPETokenizer, _ fixture: TokenizerFixture
  ) throws {
    var random = SplitMix64(state: 11)
    let texts = fixture.cases.map { Array($0.text.utf8) } + (0..<200).map { _ in fixture.fuzzText(&random) }
    for text in texts {
      let ids = other.encode(text, addSpecialTokens: true)
      #expect(tokenizer.encode(text, addSpecialTokens: true) == ids, "\(String(decoding: text, as: UTF8.self))")
      #expect(tokenizer.decode(ids) == other.decode(ids))
    }
  }

  #if !DEBUG
    /// All 1,112,064 code points, each beside letters, digits, spaces, apostrophes, marks and itself.
    @Test(arguments: TokenizerFixture.names)
    func everyCodePointGivesTheDigestsOfTokenizers(name: String) throws {
      let fixture = try TokenizerFixture.load()
      let encoder = BPEEncoder(try TokenizerFixture.tokenizer(name))
      for (index, expected) in try #require(fixture.digests[name]).scalars.enumerated() {
        var digest = IDDigest()
        for block in index * 32..<index * 32 + 32 {
          var ids: [UInt32] = []
          encoder.encode(TokenizerFixture.scalarBlock(block), into: &ids)
          digest.add(ids)
        }
        #expect(digest.text == expected, "code points from U+\(String(index << 15, radix: 16))")
      }
    }

    /// A million code points in one word: wrong ids, or a quadratic loop, would show.
    @Test(arguments: TokenizerFixture.names)
    func aMillionCodePointsWithoutASpaceGiveTheDigestsOfTokenizers(name: String) throws {
      let fixture = try TokenizerFixture.load()
      let encoder = BPEEncoder(try TokenizerFixture.tokenizer(name))
      for (kind, expected) in zip(fixture.long, try #require(fixture.digests[name]).long) {
        var ids: [UInt32] = []
        encoder.encode(fixture.longText(kind), into: &ids)
        var digest = IDDigest()
        digest.add(ids)
        #expect(digest.text == expected, "\(kind)")
      }
    }

    @Test(.enabled(if: TokenizerFixture.hasShared))
    func everyCorpusGivesTheDigestsOfTokenizersWholeAndSplit() throws {
      for (key, expected) in try TokenizerFixture.load().corpora {
        let names = key.split(separator: " ")
        let tokenizer = try BPETokenizer.load(TokenizerFixture.shared.appendingPathComponent(String(names[0])).path)
        let corpus = TokenizerFixture.shared.appendingPathComponent("corpora/\(names[1])")
        let text = try TokenizerFixture.bytes(corpus)
        let encoder = BPEEncoder(tokenizer)
        var ids: [UInt32] = []
        encoder.encode(text, into: &ids)
        var whole = IDDigest()
        whole.add(ids)
        var split = IDDigest()
        for part in Self.parts(text, separator: Array("<|endoftext|>".utf8)) {
          ids.removeAll()
          encoder.encode(part, into: &ids)
          split.add(ids)
        }
        #expect([whole.text, split.text] == expected, "\(key)")
      }
    }

    private static func parts(_ text: [UInt8], separator: [UInt8]) -> [ArraySlice<UInt8>] {
      var parts: [ArraySlice<UInt8>] = []
      var start = 0
      var index = 0
      while index < text.count {
        if text[index] == separator[0] && text[index...].starts(with: separator) {
          parts.append(text[start..<index])
          index += separator.count
          start = index
        } else {
          index += 1
        }
      }
      parts.append(text[start...])
      return parts
    }

    /// llama.cpp's public test vectors, with the vocabulary out of the GGUF file itself.
    @Test(.enabled(if: TokenizerFixture.hasShared), arguments: [("gpt-2", "gpt-2"), ("mpt", "gpt-neox")])
    func llamaVectorsAreMetFromTheirGGUF(vector: String, file: String) throws {
      let folder = TokenizerFixture.shared.appendingPathComponent("tokenizers/vectors")
      let gguf = folder.appendingPathComponent("ggml-vocab-\(file).gguf")
      let tokenizer = try GGUFMetadata(TokenizerFixture.bytes(gguf)).vocabulary(source: gguf.path).makeTokenizer()
      func text(_ suffix: String) throws -> String {
        String(
          decoding: try TokenizerFixture.bytes(folder.appendingPathComponent("ggml-vocab-\(vector).gguf.\(suffix)")),
          as: UTF8.self)
      }
      let texts = try text("inp").components(separatedBy: "\n__ggml_vocab_test__\n")
      let lines = try text("out").components(separatedBy: "\n")
      #expect(texts.count == 47)
      for (text, line) in zip(texts, lines) {
        #expect(tokenizer.encode(text) == line.split(separator: " ").compactMap { UInt32($0) }, "\(text)")
      }
    }
  #endif
}
