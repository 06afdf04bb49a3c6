import ActCache
import Foundation
import Memory
import TestSupport
import Testing

@testable import Harvest

struct CorpusTests {
  /// Gives its bytes in pieces of `step`.
  private final class Pieces: ByteSource {
    private let bytes: [UInt8]
    private let step: Int
    private(set) var bytesConsumed = 0
    init(_ bytes: [UInt8], step: Int) { (self.bytes, self.step) = (bytes, step) }
    func read() -> [UInt8] {
      let piece = Array(bytes[bytesConsumed..<min(bytes.count, bytesConsumed + step)])
      bytesConsumed += piece.count
      return piece
    }
  }

  private func documents(
    _ bytes: [UInt8], name: String = "a.txt", step: Int, separator: String = "<|endoftext|>"
  ) throws -> (texts: [String], offsets: [Int], notices: [String], counts: CorpusCounts) {
    var notices: [String] = []
    let reader = try DocumentReader(
      path: name, source: Pieces(bytes, step: step), separator: separator, textField: "text",
      report: { notices.append($0.description) })
    var texts: [String] = []
    var offsets: [Int] = []
    while let piece = try reader.next() {
      texts.append(String(decoding: piece.bytes, as: UTF8.self))
      offsets.append(piece.offset)
      #expect(piece.beginsDocument && piece.endsDocument)
    }
    return (texts, offsets, notices, reader.counts)
  }

  @Test(arguments: [1, 2, 7, 1000])
  func textIsCutAtSeparatorsHoweverItArrives(step: Int) throws {
    let text = "One.\nTwo.\n<|endoftext|>\n\nThree <|endof <|endoftext|><|endoftext|>Four\n<|endoftext|>\n"
    let found = try documents(Array(text.utf8), step: step)
    #expect(found.texts == ["One.\nTwo.", "Three <|endof ", "Four"])
    #expect(found.offsets == [0, 25, 65])
    #expect(found.notices == ["a.txt: byte 52: an empty document is left out"])
    #expect(found.counts.emptyDocuments == 1)
    #expect(try documents(Array("ab##c".utf8), step: step, separator: "##").texts == ["ab", "c"])
    #expect(try documents([], step: step).texts == [])
    #expect(try documents(Array("\n".utf8), step: step).texts == [])
  }

  @Test(arguments: [1, 5, 1000])
  func badUTF8IsLeftOutWithItsPlace(step: Int) throws {
    let bytes = Array("good<|endoftext|>ba".utf8) + [0xFF] + Array("d<|endoftext|>fine".utf8)
    let found = try documents(bytes, step: step)
    #expect(found.texts == ["good", "fine"])
    #expect(found.notices == ["a.txt: byte 19: not UTF-8; this document is left out"])
    #expect(found.counts.invalidDocuments == 1)
  }

  @Test(arguments: [1, 13, 1000])
  func jsonLinesGiveTheirTextField(step: Int) throws {
    let text = """
      {"text": "one\\ntwo", "n": 1}
      {"text": ""}
      {"body": "x"}

      not json
      {"text": "last"}
      """
    let found = try documents(Array(text.utf8), name: "a.jsonl", step: step)
    #expect(found.texts == ["one\ntwo", "last"])
    #expect(
      found.notices == [
        "a.jsonl: byte 29: an empty document is left out",
        "a.jsonl: byte 42: a line without a text \"text\" is left out",
        "a.jsonl: byte 56: an empty line is left out",
        "a.jsonl: byte 57: not JSON: null expected at byte 1; this line is left out",
      ])
    #expect(found.counts.invalidLines == 3 && found.counts.emptyDocuments == 1)
  }

  @Test func aLongDocumentThatIsCutIsNamedOnce() throws {
    let text = "short#" + String(repeating: "some words ", count: 20) + "#end"
    var notices: [String] = []
    let reader = try DocumentReader(
      path: "a.txt", source: Pieces(Array(text.utf8), step: 7), separator: "#", textField: "text", maxPieceBytes: 64,
      report: { notices.append($0.description) })
    var pieces: [TextPiece] = []
    while let piece = try reader.next() { pieces.append(piece) }
    #expect(
      pieces.count > 4
        && pieces.map { String(decoding: $0.bytes, as: UTF8.self) }.joined(separator: "")
          == text.replacingOccurrences(of: "#", with: "")
    )
    #expect(
      notices == ["a.txt: byte 6: a document longer than 64 bytes is cut into parts that are tokenized one by one"])
  }

  #if !DEBUG
    @Test func aLongDocumentIsReadInPartsThatMakeTheWhole() throws {
      let text = Array(String(repeating: "wörter und mehr ", count: 700_000).utf8)
      let reader = try DocumentReader(
        path: "a.txt", source: Pieces(text, step: 1 << 18), separator: "<|endoftext|>", textField: "text",
        report: { _ in })
      var pieces: [TextPiece] = []
      while let piece = try reader.next() { pieces.append(piece) }
      #expect(pieces.count > 1 && pieces.flatMap { $0.bytes } == text)
      #expect(pieces.map(\.beginsDocument) == [true] + pieces.dropFirst().map { _ in false })
      #expect(pieces.map(\.endsDocument) == pieces.dropFirst().map { _ in false } + [true])
      #expect(pieces.dropFirst().allSatisfy { $0.bytes.first == 0x20 })
    }
  #endif

  @Test func formatsAreKnownByTheirNames() throws {
    #expect(try CorpusFormat(path: "x/Y.TXT.gz") == CorpusFormat(path: "a.txt.gz"))
    #expect(try CorpusFormat(path: "a.jsonl.zst").compression == .zstd)
    #expect(try CorpusFormat(path: "a.bin").content == .tokens)
    #expect(
      throws: HarvestError.setting(
        name: "corpus", value: "a.csv", allowed: "names ending in .txt, .jsonl (each also with .gz or .zst), .bin, or -"
      )
    ) { try CorpusFormat(path: "a.csv") }
    #expect(throws: HarvestError.self) { try CorpusFormat(path: "a.bin.gz") }
  }

  private func run(_ program: String, _ arguments: [String]) throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: program)
    process.arguments = arguments
    try process.run()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)
  }

  private func all(_ path: String) throws -> [UInt8] {
    let source = try openCorpus(path)
    var bytes: [UInt8] = []
    while true {
      let next = try source.read()
      if next.isEmpty { return bytes }
      bytes += next
    }
  }

  @Test func compressedFilesReadAsTheirContentAndCutOnesAreErrors() throws {
    let folder = try TemporaryFolder()
    let path = folder.path + "/a.txt"
    let text = stories(3000).joined(separator: "<|endoftext|>")
    try write(text, to: path)
    for (program, suffix) in [("/usr/bin/gzip", ".gz"), ("/usr/bin/zstd", ".zst")]
    where FileManager.default.isExecutableFile(atPath: program) {
      try run(program, ["-q", "-k", path])
      #expect(try all(path + suffix) == Array(text.utf8))
      let whole = try Data(contentsOf: URL(fileURLWithPath: path + suffix))
      try whole.dropLast(9).write(to: URL(fileURLWithPath: path + suffix))
      let error = #expect(throws: HarvestError.self) { try all(path + suffix) }
      #expect(error?.exitCode == 65 && error?.description.hasPrefix("\(path)\(suffix): ") == true)
    }
    let error = #expect(throws: HarvestError.self) { try all(folder.path + "/none.txt") }
    #expect(error?.exitCode == 66)
    #expect(error?.description == "\(folder.path)/none.txt: open failed: No such file or directory; check the path")
  }
}

struct PackerTests {
  private func pack(
    _ documents: [[UInt32]], context: Int, pack: String = "concatenate", bos: Int? = nil, separator: Int? = nil
  ) throws -> (sequences: [[UInt32]], lengths: [Int], counts: CorpusCounts) {
    let packer = SequencePacker(
      TokenSpec(
        context: context, pack: pack, bos: bos, separator: separator, padding: 0, documentSeparator: "",
        textField: ""))
    var sequences: [[UInt32]] = []
    var lengths: [Int] = []
    let emit = { (tokens: [UInt32], length: Int) in
      sequences.append(tokens)
      lengths.append(length)
    }
    for document in documents {
      try packer.beginDocument(emit)
      try packer.append(document, emit)
      try packer.endDocument(emit)
    }
    packer.finish()
    return (sequences, lengths, packer.counts)
  }

  @Test func documentsFollowEachOtherWithBOSInFrontOfSequencesAndDocuments() throws {
    let packed = try pack([[1, 2, 3, 4], [5], [6, 7, 8]], context: 4, bos: 9)
    #expect(packed.sequences == [[9, 1, 2, 3], [9, 4, 9, 5], [9, 6, 7, 8]])
    #expect(packed.counts.documents == 3 && packed.counts.droppedTokens == 0)
    #expect(try pack([[1, 2, 3], [4], []], context: 4, bos: 9).sequences == [[9, 1, 2, 3]])
    #expect(try pack([[1, 2, 3], [4], []], context: 4, bos: 9).counts.droppedTokens == 3)
  }

  @Test func withoutBOSTheSeparatorStandsBetweenDocuments() throws {
    let packed = try pack([[1, 2, 3, 4], [5], [6, 7, 8]], context: 4, separator: 9)
    #expect(packed.sequences == [[1, 2, 3, 4], [9, 5, 9, 6]])
    #expect(packed.counts.droppedTokens == 3)
    #expect(try pack([[1, 2], [3]], context: 3).sequences == [[1, 2, 3]])
  }

  @Test func withoutPackingEachDocumentHasItsSequence() throws {
    let packed = try pack([[1, 2, 3, 4], [5], []], context: 3, pack: "none", bos: 9)
    #expect(packed.sequences == [[9, 1, 2], [9, 5, 0]] && packed.lengths == [3, 2])
    #expect(packed.counts.droppedTokens == 2 && packed.counts.documents == 2 && packed.counts.emptyDocuments == 1)
  }

  /// Nothing is lost: tokens in sequences and dropped ones are those of the text, BOS and separators apart.
  @Test(arguments: [2, 3, 5, 16], [true, false])
  func everyTokenIsInASequenceOrCounted(context: Int, hasBOS: Bool) throws {
    var generator = SeededGenerator(seed: UInt64(context))
    let documents = (0..<50).map { _ in
      (0..<Int.random(in: 0...20, using: &generator)).map { _ in UInt32.random(in: 1...50, using: &generator) }
    }
    let packed = try pack(documents, context: context, bos: hasBOS ? 99 : nil)
    let kept = packed.sequences.flatMap { $0 }.filter { $0 != 99 }
    let all = documents.flatMap { $0 }
    #expect(kept == Array(all.prefix(kept.count)))
    #expect(all.count - kept.count <= packed.counts.droppedTokens && packed.counts.droppedTokens < context)
    #expect(packed.sequences.allSatisfy { $0.count == context && (!hasBOS || $0.first == 99) })
  }
}
