import ActCache
import ArgumentParser
import Report

struct GcCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "gc", abstract: "Remove from a cache what nobody can read.",
    discussion: """
      That is unfinished files of processes that were killed, shards without a receipt, .bad files of repair, and receipts \
      of ranges that the tokens are not cut into. Refuses while a process harvests.
      """)

  @Argument(help: "The cache's folder.") var cache: String
  @Flag(help: "Say what would be removed, and remove nothing.") var dryRun = false
  @Flag(help: "Print one JSON object.") var json = false

  func run() throws {
    let garbage = try GarbageCollection(cache: cache, dryRun: dryRun)
    if json {
      return try printJSON(
        Output(cache: cache, dryRun: dryRun, removed: garbage.removed, kept: garbage.kept, bytes: garbage.bytes))
    }
    for item in garbage.removed {
      print("\(dryRun ? "would remove" : "removed") \(item.file) (\(byteSize(item.bytes))): \(item.what)")
    }
    for item in garbage.kept { print("kept \(item.file) (\(byteSize(item.bytes))): \(item.what)") }
    print(
      garbage.removed.isEmpty
        ? "\(cache): nothing to remove"
        : "\(cache): \(dryRun ? "would remove " : "")\(grouped(garbage.removed.count)) files, \(byteSize(garbage.bytes))"
    )
  }

  private struct Output: Encodable {
    var cache: String
    var dryRun: Bool
    var removed, kept: [GarbageCollection.Item]
    var bytes: Int
  }
}
