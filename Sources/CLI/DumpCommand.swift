import ActCache
import ArgumentParser
import Harvest
import Report
import Tokenizer

struct DumpCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "dump",
    abstract: "Show one sequence of a cache: tokens, text, activations, teacher targets, and where they lie.")

  @Argument(help: "The cache's folder.") var cache: String
  @Option(help: "Number of the sequence.") var sequence: Int
  @Option(help: "Generation of a cache that has grown; by default the newest.") var generation: Int?
  @Option(help: "A model, or a tokenizer's folder or file: shows the text.") var tokenizer: String?
  @Option(name: .customLong("model"), help: "The same as --tokenizer.") var model: String?
  @Option(help: "Positions to show values of.") var positions = 8
  @Flag(help: "Print one JSON object, with all positions.") var json = false

  func validate() throws {
    if positions < 0 { throw ValidationError("--positions \(positions): 0 or more") }
  }

  func run() throws {
    var dump = try SequenceDump(
      sequence, of: CacheReader(path: CacheFolder(cache).path, generation: generation, allowIncomplete: true))
    let text = try (tokenizer ?? model).map { try ModelTokenizer.load(model: $0).tokenizer }
    dump.text = text?.decode(Array(dump.tokens.prefix(dump.length)), skipSpecialTokens: false)
    if json { return try printJSON(dump) }
    print(
      """
      \(dump.cache): sequence \(dump.sequence), \(dump.isHeldOut ? "held out" : "for training"), \(dump.length) tokens \
      of text\(dump.tokens.count > dump.length ? " and \(dump.tokens.count - dump.length) of padding" : "")

      tokens  \(line(dump.tokensPlace))
      \(dump.tokens.prefix(dump.length).map(String.init).joined(separator: " "))
      """)
    if let text = dump.text { print("\ntext\n\(text)") }
    for hook in dump.hooks {
      print("\n\(hook.name)  \(hook.dtype), width \(hook.width)  \(line(hook.place))")
      if positions == 0 { continue }
      var table = TextTable([("position", .right), ("token", .right), ("‖x‖", .right), ("first values", .left)])
      for position in 0..<min(positions, dump.length) {
        table.add([
          "\(position)", "\(dump.tokens[position])", fixed(hook.norms[position], 3),
          hook.firstValues[position].map { fixed(Double($0), 4) }.joined(separator: "  "),
        ])
      }
      print(table.text)
    }
    for targets in dump.logits {
      print("\nlogits/\(targets.policy)  \(line(targets.place))")
      if positions == 0 { continue }
      var table = TextTable([
        ("position", .right), ("token", .right), ("entropy", .right), ("tail mass", .right), ("listed", .right),
        ("most likely next tokens", .left),
      ])
      for position in 0..<min(positions, dump.length) {
        let top = targets.top[position].map { entry in
          let spelling = text.map { " \(String(reflecting: $0.decode([entry.token], skipSpecialTokens: false)))" } ?? ""
          return "\(entry.token)\(spelling) \(fixed(Double(entry.probability), 4))"
        }
        let tail = Double(targets.tailMasses[position])
        table.add([
          "\(position)", "\(dump.tokens[position])", fixed(Double(targets.entropies[position]), 3), scientific(tail),
          grouped(targets.counts[position]), top.joined(separator: "  "),
        ])
      }
      print(table.text)
    }
  }

  private func line(_ place: StoredSequences.Place) -> String {
    "\(place.file), frame \(place.frame) (bytes \(place.firstByte)..<\(place.endByte)), sequence \(place.sequenceInFrame) "
      + "of it"
  }
}
