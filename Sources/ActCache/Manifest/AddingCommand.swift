import Memory

/// The command that adds streams, or what they lack, to a cache, as a shell reads it.
package struct AddingCommand: CustomStringConvertible {
  /// The cache's folder.
  package var cache: String
  package var model = "MODEL"
  package var hooks: [String] = []
  package var logits: [String] = []
  /// How activations are stored; targets have no choice.
  package var dtype = "bf16"
  package var codec = "zstd:1"

  package init(cache: String) { self.cache = cache }

  package var description: String {
    let standard = AddingCommand(cache: cache)
    var words = ["actcache", "harvest", "--model", shellWord(model)]
    for hook in hooks { words += ["--hook", hook] }
    for policy in logits { words += ["--logits", policy] }
    words += ["--out", shellWord(cache)]
    if !hooks.isEmpty || logits.contains(LogitPolicy.hidden.name) {
      if dtype != standard.dtype { words += ["--dtype", dtype] }
      if codec != standard.codec { words += ["--codec", codec] }
    }
    return words.joined(separator: " ")
  }
}

extension CacheReader {
  /// The command that adds hooks and policies in the form of those that the cache has.
  ///
  /// - Parameter like: hooks whose form is preferred, the first one that is there.
  package func adding(
    hooks: [String] = [], logits: [String] = [], model: String = "MODEL", like: [String] = []
  ) -> AddingCommand {
    var command = AddingCommand(cache: path)
    (command.model, command.hooks, command.logits) = (model, hooks, logits)
    let names = like + manifest.hooks.keys.sorted()
    if let there = names.lazy.compactMap({ self.manifest.hooks[$0] }).first ?? manifest.logits[LogitPolicy.hidden.name]
    {
      (command.dtype, command.codec) = (there.dtype, there.codec)
    }
    return command
  }

  /// As `hook`; the error for a hook that is not there names the command that adds it.
  package func hook(
    _ name: String, orAddItWith model: String, like: [String] = []
  ) throws -> Manifest.Stream {
    do { return try hook(name) } catch ActCacheError.missing(let what) {
      throw ActCacheError.missing("\(what); to add it: \(adding(hooks: [name], model: model, like: like))")
    }
  }
}
