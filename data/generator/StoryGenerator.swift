import ArgumentParser
import Foundation

/// Writes the story corpus; `data/README.md` describes the format.
@main
struct StoryGenerator: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "StoryGenerator",
    abstract: "Write seeded stories with labels that are known by construction.")

  @Option(help: "Stories are a pure function of seed and index.") var seed: UInt64 = 1
  @Option(help: "How many stories to write.") var stories = 1000
  @Option(help: "Index of the first story.") var first: UInt64 = 0
  @Flag(help: "Write plain text, stories each followed by <|endoftext|>, instead of JSON Lines.") var text = false
  @Flag(help: "Write −ln p of each story's choices, one number a line, instead of stories.") var nats = false
  @Option(help: "The file to write; standard output if absent.") var out: String?

  func validate() throws {
    guard stories > 0 else { throw ValidationError("--stories is \(stories), expected at least 1") }
  }

  func run() throws {
    let output = try open()
    let templates = TemplateCache()
    var statistics = CorpusStatistics()
    var buffer: [UInt8] = []
    for offset in 0..<UInt64(stories) {
      let story = makeStory(seed: seed, index: first &+ offset, templates: templates)
      statistics.add(story)
      if nats {
        buffer += "\(story.nats)\n".utf8
      } else if text {
        buffer += story.text + "<|endoftext|>".utf8
      } else {
        buffer += jsonLine(of: story)
      }
      if buffer.count > 1 << 20 {
        try output.write(contentsOf: Data(buffer))
        buffer.removeAll(keepingCapacity: true)
      }
    }
    try output.write(contentsOf: Data(buffer))
    try FileHandle.standardError.write(contentsOf: Data((statistics.summary + "\n").utf8))
  }

  private func open() throws -> FileHandle {
    guard let out else { return .standardOutput }
    guard FileManager.default.createFile(atPath: out, contents: nil), let file = FileHandle(forWritingAtPath: out)
    else {
      throw ValidationError("cannot create \(out); does its folder exist and may you write there?")
    }
    return file
  }
}

/// Sums over a corpus.
struct CorpusStatistics {
  private var stories = 0
  private var words = 0
  private var bytes = 0
  private var labels = 0
  private var nats = 0.0

  mutating func add(_ story: Story) {
    stories += 1
    words += story.wordCount
    bytes += story.text.count
    labels += story.labels.count
    nats += story.nats
  }

  /// The entropy of the grammar's choices, an upper bound for that of the text.
  var summary: String {
    func rounded(_ value: Double) -> String { String(format: "%.3f", value) }
    let perStory = Double(max(stories, 1))
    return """
      \(stories) stories, \(words) words, \(bytes) bytes, \(labels) labels
      grammar entropy: \(rounded(nats / 0.693_147_180_559_945_3 / perStory)) bits per story, \
      \(rounded(nats / Double(max(words, 1)))) nats per word, \(rounded(nats / Double(max(bytes, 1)))) nats per byte
      """
  }
}
