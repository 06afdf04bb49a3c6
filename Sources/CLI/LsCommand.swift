import ActCache
import ArgumentParser
import Report

struct LsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ls", abstract: "List the caches at or below some folders.",
    discussion: "Reads manifests and file sizes only; actcache verify looks into the files.")

  @Argument(help: "Folders; by default the current one.") var folders: [String] = []
  @Flag(help: "Print one JSON object.") var json = false

  func run() throws {
    var caches: [CacheListing] = []
    var failure: ActCacheError?
    for folder in folders.isEmpty ? ["."] : folders {
      do { caches += try CacheListing.below(folder) } catch let error as ActCacheError {
        // The others are listed all the same.
        if let failure { printError("\(failure)") }
        failure = error
      }
    }
    if json { try printJSON(Output(caches: caches)) } else { show(caches) }
    if let failure { throw failure }
    if caches.isEmpty {
      printError("no cache at or below \((folders.isEmpty ? ["."] : folders).joined(separator: ", "))")
    }
  }

  private func show(_ caches: [CacheListing]) {
    if caches.isEmpty { return }
    var table = TextTable([
      ("cache", .left), ("state", .left), ("generation", .right), ("sequences", .right), ("tokens", .right),
      ("hooks", .left), ("logits", .left), ("on disk", .right), ("base key", .left),
    ])
    for cache in caches {
      table.add([
        cache.path, cache.state.rawValue, cache.generation.map { "\($0)" } ?? "", cache.sequences.map(grouped) ?? "",
        cache.tokens.map(grouped) ?? "", short(cache.hooks), short(cache.logits), cache.bytes.map(byteSize) ?? "",
        cache.baseKey.map { String($0.prefix(12)) } ?? "",
      ])
    }
    print(table.text)
    for cache in caches { if let problem = cache.problem { printError(problem) } }
  }

  private func short(_ names: [String]) -> String {
    names.count <= 2 ? names.joined(separator: ", ") : "\(names[0]) and \(names.count - 1) more"
  }

  private struct Output: Encodable { var caches: [CacheListing] }
}
