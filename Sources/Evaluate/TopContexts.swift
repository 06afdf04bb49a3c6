import ActCache
import LinearAlgebra
import SAE
import Transformer

/// Where a latent is most active: the texts a reader looks at to guess what it stands for.
package struct LatentContexts: Codable, Sendable, Equatable {
  package struct Context: Codable, Sendable, Equatable {
    package var activation: Float
    /// Number of the sequence in the cache, and the position in it.
    package var sequence: Int
    package var position: Int
    /// Tokens before the position, the one at it, and tokens after it.
    package var before: [UInt32]
    package var token: UInt32
    package var after: [UInt32]
  }

  package var latent: Int
  /// Share of the held-out tokens on which the latent is active.
  package var frequency: Double
  package var contexts: [Context]
}

/// Finds the latents' strongest contexts in the held-out sequences: from the cache alone, or where half-layers were trained
/// with the SAE, from the layers of that model up to the hook.
package struct TopContexts {
  private let sae: any SparseCoder
  private let hook: String
  private let reader: HeldOutReader
  private let width: Int
  private let changed: TransformerModel?

  package init(_ sae: any SparseCoder, hook: String, cache: CacheReader, changed: ChangedModel? = nil) throws {
    self.sae = sae
    self.hook = HookPoint.storedName(of: hook, among: cache.manifest.hooks.keys)
    self.changed = changed?.model
    reader = try HeldOutReader(cache)
    width = try cache.hook(self.hook).width
  }

  private struct Use {
    var activation: Float
    var ordinal: Int
    var position: Int
  }

  /// Contexts of the `nLatents` latents with the largest activations among those that are active on 0.02 % to 2 % of
  /// the tokens: rarer ones have too few examples, more frequent ones no single meaning to show.
  package func find(nLatents: Int, nContexts: Int, radius: Int) throws -> [LatentContexts] {
    var uses = [[Use]](repeating: [], count: sae.configuration.dSAE)
    var counts = [Int](repeating: 0, count: sae.configuration.dSAE)
    var tokens = 0
    var x = Matrix(reader.context, width)
    let workspace = ForwardWorkspace()
    for ordinal in 0..<reader.count {
      let sequence = try reader.sequence(ordinal)
      let length = sequence.length
      if let changed {
        let tokens = HeldOutBatch([sequence], context: reader.context).tokens
        let hooks = [try changed.configuration.hook(named: hook)]
        try changed.forward(tokens, hooks: hooks, workspace: workspace) { x.assign($1) }
      } else {
        try x.withMutableSpan { try reader.read(ordinal, hook: hook, into: &$0) }
      }
      let code = sae.encode(x)
      for position in 0..<length {
        for (latent, value) in code.row(position) {
          counts[latent] += 1
          insert(Use(activation: value, ordinal: ordinal, position: position), into: &uses[latent], keeping: nContexts)
        }
      }
      tokens += length
    }
    let frequency = counts.map { Double($0) / Double(max(tokens, 1)) }
    let candidates = counts.indices.filter {
      frequency[$0] >= 0.0002 && frequency[$0] <= 0.02 && counts[$0] >= nContexts
    }
    let chosen = candidates.sorted { (uses[$0][0].activation, -$0) > (uses[$1][0].activation, -$1) }.prefix(nLatents)
    return try chosen.map { latent in
      LatentContexts(
        latent: latent, frequency: frequency[latent],
        contexts: try uses[latent].map { try context($0, radius: radius) })
    }
  }

  /// Keeps the strongest uses, strongest first, one per sequence.
  private func insert(_ use: Use, into kept: inout [Use], keeping limit: Int) {
    if let same = kept.firstIndex(where: { $0.ordinal == use.ordinal }) {
      if kept[same].activation >= use.activation { return }
      kept.remove(at: same)
    } else if kept.count == limit {
      if kept[limit - 1].activation >= use.activation { return }
      kept.removeLast()
    }
    kept.insert(use, at: kept.firstIndex { $0.activation < use.activation } ?? kept.count)
  }

  private func context(_ use: Use, radius: Int) throws -> LatentContexts.Context {
    let sequence = try reader.sequence(use.ordinal)
    return LatentContexts.Context(
      activation: use.activation, sequence: sequence.number, position: use.position,
      before: Array(sequence.tokens[max(0, use.position - radius)..<use.position]),
      token: sequence.tokens[use.position],
      after: Array(sequence.tokens[use.position + 1..<min(sequence.length, use.position + 1 + radius)]))
  }
}
