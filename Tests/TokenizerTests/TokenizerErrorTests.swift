import Foundation
import Testing
import Tokenizer

/// Whatever cannot be exact is an error that names it.
@Suite struct TokenizerErrorTests {
  /// A tokenizer.json of three tokens with one part replaced.
  private func error(_ parts: String...) -> String? {
    var members = [
      "model": #"{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}"#
    ]
    for part in parts {
      let colon = part.firstIndex(of: ":") ?? part.endIndex
      members[String(part[..<colon])] = String(part[colon...].dropFirst())
    }
    let text = "{" + members.sorted { $0.key < $1.key }.map { "\"\($0.key)\":\($0.value)" }.joined(separator: ",") + "}"
    do {
      _ = try BPETokenizer.parse(tokenizerJSON: Array(text.utf8), source: "t.json")
      return nil
    } catch {
      return error.description
    }
  }

  @Test func theSmallestTokenizerLoads() throws {
    #expect(error() == nil)
    let tokenizer = try BPETokenizer.parse(
      tokenizerJSON: Array(#"{"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":[["a","b"]]}}"#.utf8),
      source: "t.json")
    #expect(tokenizer.encode("abba") == [2, 1, 0])
    #expect(tokenizer.vocabularySize == 3)
    #expect(tokenizer.decode([2, 1, 7, 0]) == "ab b a")
  }

  @Test func unsupportedComponentsAreNamed() {
    let tail = " is not supported, so the ids would not be exact; supported: "
    #expect(
      error(#"model:{"type":"Unigram","vocab":[]}"#) == "t.json: model: the model Unigram" + tail + "BPE")
    #expect(
      error(#"normalizer:{"type":"Lowercase"}"#)
        == "t.json: normalizer: the normalizer Lowercase" + tail + "NFC, Prepend, Replace of a string, Sequence")
    #expect(
      error(#"pre_tokenizer:{"type":"Sequence","pretokenizers":[{"type":"Whitespace"}]}"#)
        == "t.json: pre_tokenizer.pretokenizers[0]: the pre-tokenizer Whitespace" + tail
        + "ByteLevel, Digits, Metaspace, Split, Sequence")
    #expect(
      error(#"decoder:{"type":"WordPiece"}"#)
        == "t.json: decoder: the decoder WordPiece" + tail
        + "ByteLevel, Metaspace, Replace, ByteFallback, Fuse, Strip, Sequence")
    #expect(
      error(#"post_processor:{"type":"BertProcessing"}"#)
        == "t.json: post_processor: the post-processor BertProcessing" + tail
        + "ByteLevel, TemplateProcessing, Sequence")
    #expect(
      error(#"model:{"type":"BPE","dropout":0.1,"vocab":{},"merges":[]}"#)
        == "t.json: model.dropout: dropout" + tail + "null")
    #expect(
      error(#"model:{"type":"BPE","end_of_word_suffix":"</w>","vocab":{},"merges":[]}"#)
        == #"t.json: model.end_of_word_suffix: "</w>""# + tail + "null")
    #expect(error(#"truncation:{"max_length":8}"#) == "t.json: truncation: a fixed truncation" + tail + "null")
  }

  @Test func anUnknownRegexIsNamedWithTheKnownOnes() throws {
    let text = try #require(
      error(
        #"pre_tokenizer:{"type":"Split","pattern":{"Regex":"\\p{N}{1,9}"},"behavior":"Isolated","invert":false}"#))
    #expect(text.hasPrefix(#"t.json: pre_tokenizer: Split by the regex \p{N}{1,9} is not supported"#))
    #expect(text.hasSuffix(#"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#))
  }

  @Test func damagedFilesSayWhere() {
    let tail = "; the file is damaged or was edited, fetch it again"
    #expect(
      error(#"model:{"type":"BPE","vocab":{"a":0,"b":0},"merges":[]}"#)
        == #"t.json: the id 0 belongs to "b" and to another token"# + tail)
    #expect(
      error(#"model:{"type":"BPE","vocab":{"a":0,"b":1},"merges":["a b"]}"#)
        == #"t.json: merge 0 needs "ab", which is not in the vocabulary"# + tail)
    #expect(
      error(#"model:{"type":"BPE","vocab":{"a":0,"b":1},"merges":["a b c"]}"#)
        == #"t.json: merge 0 is "a b c"; expected two tokens and a space between"# + tail)
    #expect(
      error(#"model:{"type":"BPE","vocab":{"a":-1},"merges":[]}"#)
        == "t.json: model.vocab.a is not a whole number from 0 to 268435455" + tail)
    #expect(error(#"model:{"type":"BPE","vocab":{"a":0}}"#) == #"t.json: model has no "merges""# + tail)
    #expect(error("model:[") == "t.json: not JSON at byte 10: expected a value" + tail)
    let flags = #""single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true"#
    #expect(
      error(#"added_tokens:[{"id":9,"content":"<s>",\#(flags)}]"#)
        == "t.json: added_tokens[0] has the id 9, but its place in the vocabulary gives it 3" + tail)
  }

  /// Every prefix of a valid file is an error, never a trap.
  @Test func everyTruncationOfAFileIsAnError() throws {
    let text = Array(
      #"{"added_tokens":[],"model":{"vocab":{"a":0,"\u00e9\ud83d\ude00":1},"merges":[]},"decoder":null}"#.utf8)
    _ = try BPETokenizer.parse(tokenizerJSON: text, source: "t")
    for count in 0..<text.count {
      #expect(throws: TokenizerError.self) {
        try BPETokenizer.parse(tokenizerJSON: Array(text[..<count]), source: "t")
      }
    }
  }

  @Test func aVocabularyOutOfGGUFSaysWhatItLacks() {
    func error(_ change: (inout GGUFVocabulary) -> Void) -> String {
      var vocabulary = GGUFVocabulary(source: "m.gguf", model: "gpt2", tokens: [[0x61]])
      vocabulary.pre = "gpt-2"
      change(&vocabulary)
      do {
        _ = try vocabulary.makeTokenizer()
        return "none"
      } catch {
        return error.description
      }
    }
    #expect(error { _ in } == "none")
    let known = "gpt-2, gpt-neox, llama-bpe, mpt, olmo, qwen2, smollm"
    #expect(
      error { $0.pre = "tekken" }
        == "m.gguf: tokenizer.ggml.pre tekken is not supported, so the ids would not be exact; supported: \(known)")
    #expect(
      error { $0.pre = nil }
        == "m.gguf: a file without tokenizer.ggml.pre is not supported, so the ids would not be exact; "
        + "supported: \(known)")
    #expect(
      error { $0.model = "bert" }
        == "m.gguf: tokenizer.ggml.model bert is not supported, so the ids would not be exact; supported: gpt2, llama")
    #expect(
      error { $0.model = "llama" }
        == "m.gguf: 0 scores for 1 tokens; the file is damaged or was edited, fetch it again")
    #expect(
      error { $0.bosTokenID = 1 }
        == "m.gguf: the bos token id 1 is not below the vocabulary size 1; "
        + "the file is damaged or was edited, fetch it again")
    #expect(
      error { $0.tokens = [[0xFF]] }
        == "m.gguf: token 0 is not UTF-8; the file is damaged or was edited, fetch it again")
  }

  @Test func missingFilesAreNamed() throws {
    #expect(throws: TokenizerError.unreadable(path: "/no/such", reason: "no such file or directory")) {
      try BPETokenizer.load("/no/such")
    }
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    do {
      _ = try BPETokenizer.load(folder.path)
      Issue.record("an empty directory loaded")
    } catch {
      #expect(
        error.description.hasSuffix(
          ": holds no tokenizer; expected tokenizer.json, or vocab.json with merges.txt, or encoder.json with vocab.bpe"
        ))
    }
  }
}
