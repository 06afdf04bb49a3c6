import Foundation
import Testing
import Tokenizer

@Suite struct BPETokenizerTests {
  private func write(_ files: [String: String]) throws -> URL {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    for (name, text) in files { try Data(text.utf8).write(to: folder.appendingPathComponent(name)) }
    return folder
  }

  private let vocabulary = #"{"a": 0, "b": 1, "\u0120": 2, "ab": 3, "\u0120ab": 4, "<|endoftext|>": 5}"#
  private let merges = "#version: 0.2\na b\n\u{120} ab\n"

  @Test(arguments: [("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe")])
  func aVocabularyWithMergesFollowsGPT2(vocabularyName: String, mergesName: String) throws {
    let folder = try write([vocabularyName: vocabulary, mergesName: merges])
    defer { try? FileManager.default.removeItem(at: folder) }
    for path in [folder.path, folder.appendingPathComponent(mergesName).path] {
      let tokenizer = try BPETokenizer.load(path)
      #expect(tokenizer.encode(" ab a<|endoftext|>ba", addSpecialTokens: true) == [4, 2, 0, 5, 1, 0])
      #expect(tokenizer.bosTokenID == 5)
      #expect(tokenizer.eosTokenID == 5)
      #expect(!tokenizer.prependsBOS)
      #expect(tokenizer.vocabularySize == 6)
      #expect(tokenizer.tokenText(4) == "\u{120}ab")
      #expect(tokenizer.tokenText(6) == nil)
      #expect(tokenizer.decode([4, 5, 1]) == " abb")
      #expect(tokenizer.decode([4, 5, 1], skipSpecialTokens: false) == " ab<|endoftext|>b")
    }
  }

  @Test func documentsInParallelAreEncodedAsOneByOne() throws {
    let tokenizer = try TokenizerFixture.tokenizer("smollm-like")
    var random = SplitMix64(state: 5)
    let fixture = try TokenizerFixture.load()
    let documents = (0..<50).map { _ in fixture.fuzzText(&random) } + [[]]
    let expected = documents.map { tokenizer.encode($0) }
    for threads in [1, 2, 5] { #expect(tokenizer.encode(documents: documents, threads: threads) == expected) }
    #expect(tokenizer.encode(documents: [], threads: 3).isEmpty)
  }

  @Test func aConfigurationBesideTheFileNamesBOSAndEOS() throws {
    let config = #"{"bos_token": {"content": "a"}, "eos_token": "<|endoftext|>"}"#
    let folder = try write(["vocab.json": vocabulary, "merges.txt": merges, "tokenizer_config.json": config])
    defer { try? FileManager.default.removeItem(at: folder) }
    let tokenizer = try BPETokenizer.load(folder.path)
    #expect(tokenizer.bosTokenID == 0)
    #expect(tokenizer.eosTokenID == 5)
  }

  @Test func aTemplateThatStartsWithBOSPrependsIt() throws {
    let tokenizer = try TokenizerFixture.tokenizer("llama3-like")
    #expect(tokenizer.prependsBOS)
    #expect(tokenizer.bosTokenID == tokenizer.tokenID("<|begin_of_text|>"))
    #expect(tokenizer.encode("", addSpecialTokens: true) == tokenizer.bosTokenID.map { [$0] })
    #expect(tokenizer.encode("") == [])
  }

  /// Composed and decomposed spellings are one string to Swift, and two tokens.
  @Test func canonicallyEqualTokensStayApart() throws {
    let text = #"{"model":{"vocab":{"\u00e9":0,"e\u0301":1,"e":2,"\u0301":3},"merges":[["e","\u0301"]]}}"#
    let tokenizer = try BPETokenizer.parse(tokenizerJSON: Array(text.utf8), source: "t")
    #expect(tokenizer.encode("\u{e9}") == [0])
    #expect(tokenizer.encode("e\u{301}") == [1])
  }

  @Test(arguments: TokenizerFixture.names)
  func streamedTextIsTheTextOfTheBytes(name: String) throws {
    let fixture = try TokenizerFixture.load()
    let tokenizer = try TokenizerFixture.tokenizer(name)
    var random = SplitMix64(state: 21)
    for round in 0..<60 {
      var ids = tokenizer.encode(fixture.fuzzText(&random))
      if round % 2 == 0 { ids = (0..<20).map { _ in UInt32(random.below(tokenizer.vocabularySize)) } }
      var stream = StreamingDecoder(tokenizer, skipSpecialTokens: false)
      var text = ""
      for id in ids {
        let part = stream.append(id)
        text += part
      }
      text += stream.finish()
      let bytes = tokenizer.decodeBytes(ids, skipSpecialTokens: false)
      #expect(Array(text.utf8) == Array(String(decoding: bytes, as: UTF8.self).utf8), "seed 21, round \(round)")
    }
  }

  @Test func aStreamHoldsBackOnlyUnfinishedCodePoints() throws {
    let tokenizer = try TokenizerFixture.tokenizer("sentencepiece-like")
    let ids = [0xF0, 0x9F, 0x91, 0x8D, 0x41, 0xE2].compactMap {
      tokenizer.tokenID("<0x" + String($0, radix: 16, uppercase: true) + ">")
    }
    var stream = StreamingDecoder(tokenizer)
    #expect(ids.map { stream.append($0) } == ["", "", "", "\u{1F44D}", "A", ""])
    #expect(stream.finish() == "\u{FFFD}")
    #expect(stream.finish() == "")
  }

  @Test(arguments: TokenizerFixture.names)
  func anEncoderForgetsNothingThatMatters(name: String) throws {
    let fixture = try TokenizerFixture.load()
    let tokenizer = try TokenizerFixture.tokenizer(name)
    let shared = BPEEncoder(tokenizer)
    var random = SplitMix64(state: 5)
    for _ in 0..<100 {
      let text = fixture.fuzzText(&random)
      var ids: [UInt32] = [42]
      shared.encode(text[...], into: &ids)
      #expect(ids == [42] + tokenizer.encode(text), "seed 5")
    }
  }

  @Test func descriptionsAreEqualForEqualTokenizersOnly() throws {
    let folder = try write(["vocab.json": vocabulary, "merges.txt": merges])
    let other = try write(["encoder.json": vocabulary, "vocab.bpe": merges])
    let changed = try write(["vocab.json": vocabulary, "merges.txt": "a b\n"])
    defer { for url in [folder, other, changed] { try? FileManager.default.removeItem(at: url) } }
    let description = try BPETokenizer.load(folder.path).canonicalDescription
    #expect(try BPETokenizer.load(other.path).canonicalDescription == description)
    #expect(try BPETokenizer.load(changed.path).canonicalDescription != description)
    var all: Set<[UInt8]> = []
    for name in TokenizerFixture.names { all.insert(try TokenizerFixture.tokenizer(name).canonicalDescription) }
    #expect(all.count == TokenizerFixture.names.count)
  }

  @Test func theFirstByteThatIsNotUTF8IsFound() {
    let cases: [([UInt8], Int?)] = [
      ([], nil), (Array("aé€😀".utf8), nil), ([0x80], 0), ([0x61, 0xC3], 1), ([0x61, 0xC0, 0x80], 1),
      ([0xE0, 0x9F, 0x80], 0), ([0xED, 0xA0, 0x80], 0), ([0xF4, 0x90, 0x80, 0x80], 0), ([0xF0, 0x9F, 0x98], 0),
      ([0xE2, 0x82, 0xAC, 0xFF], 3), ([0xF5, 0x80, 0x80, 0x80], 0), ([0xE2, 0x28, 0xA1], 0),
    ]
    for (bytes, offset) in cases { #expect(UTF8Text.firstError(in: bytes) == offset, "\(bytes)") }
    #expect(
      TokenizerError.invalidUTF8(offset: 3).description
        == "the text is not UTF-8: byte 3 starts no valid code point; convert the text to UTF-8 or cut it there")
  }
}
