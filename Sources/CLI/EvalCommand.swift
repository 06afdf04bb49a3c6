import ActCache
import ArgumentParser
import Evaluate
import Foundation
import Harvest
import LinearAlgebra
import Report
import SAE
import Tokenizer
import Train
import Transformer

struct EvalCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "eval", abstract: "Measure SAEs on held-out text, with the reconstruction spliced into the model.",
    discussion: "A run's evaluation is kept in its folder (eval.json), for compare.")

  @Argument(help: "Runs (or folders in SAELens' layout).") var runs: [String]
  @Option(help: "The cache they were trained on.") var cache: String
  @Option(help: "The model that was harvested.") var model: String
  @Option(help: "Tokenizer folder or file, for --contexts; by default the model's own.") var tokenizer: String?
  @Option(help: "Held-out sequences to use; by default all.") var sequences: Int?
  @Option(
    help: ArgumentHelp(
      "Also measure each run's decoder with the codes that minimise x's error plus λ‖c‖₁ (FISTA; λ as --l1).",
      valueName: "λ")) var fista: Double?
  @Option(help: "Also print so many latents with the texts that activate them most.") var contexts = 0
  @OptionGroup var threads: ThreadsOption
  @Flag(help: "Print one JSON object.") var json = false

  func run() throws {
    threads.apply()
    if let sequences, sequences < 1 { throw ValidationError("--sequences \(sequences): at least 1 is needed") }
    let runs = try runFolders(self.runs)
    let reader = try CacheReader(path: cache)
    let model = try TransformerModel.load(path: self.model)
    let texts = contexts > 0 ? try ModelTokenizer.load(model: tokenizer ?? self.model).tokenizer : nil
    struct Hooks: Hashable {
      var hook: String
      var target: String?
    }
    var subjects: [Hooks: [(place: Int, subject: Evaluation.Subject)]] = [:]
    var baselines: [Fista] = []
    for (place, run) in runs.enumerated() {
      let (subject, provenance) = try Evaluation.Subject.open(run)
      let hooks = Hooks(hook: provenance.hookName, target: provenance.targetHook)
      subjects[hooks, default: []].append((2 * place, subject))
      if let fista {
        guard let sae = subject.sae as? any Autoencoder, subject.halfLayers == nil else {
          throw EvaluateError.invalid("\(run): --fista is for runs that left the model as it is; leave the run out")
        }
        let stored = HookPoint.storedName(of: hooks.hook, among: reader.manifest.hooks.keys)
        let scale = Float(try reader.hook(stored, orAddItWith: self.model).scale)
        let baseline = try Fista(sae, l1: Float(fista), inputScale: scale, name: run)
        baselines.append(baseline)
        subjects[hooks, default: []].append(
          (2 * place + 1, .init(name: "\(run) fista \(fista)", sae: baseline, weightsDigest: provenance.weightsDigest)))
      }
    }
    let line = ProgressLine(quiet: json)
    var results: [(place: Int, result: EvaluationResult, latents: [LatentContexts])] = []
    for (hooks, group) in subjects.sorted(by: {
      ($0.key.hook, $0.key.target ?? "") < ($1.key.hook, $1.key.target ?? "")
    }) {
      let hook = hooks.hook
      let evaluation = try Evaluation(
        group.map(\.subject), hook: hook, targetHook: hooks.target, cache: reader, model: model,
        modelPath: self.model)
      let found = try evaluation.run(limit: sequences) { done, all in
        line.update(fraction: Double(done) / Double(all), "\(hook): \(done) of \(all) sequences")
      }
      for ((entry, evaluated), changed) in zip(zip(group, found), evaluation.changed) {
        let run = entry.subject.name
        // What FISTA does with a run's decoder is no evaluation of the run.
        if entry.subject.sae is any Autoencoder, RunFolder(run).isFinished {
          keep(evaluated, of: run, try StoredEvaluation.Key(run: run, cache: reader, limit: sequences))
        }
        let latents =
          contexts > 0
          ? try TopContexts(entry.subject.sae, hook: hook, cache: reader, changed: changed).find(
            nLatents: contexts, nContexts: 5, radius: 8)
          : []
        results.append((entry.place, evaluated.result, latents))
      }
    }
    line.finish()
    let nUnsolved = baselines.reduce(0) { $0 + $1.nUnsolved }
    if nUnsolved > 0 {
      printError(
        "note: fista stopped after \(grouped(Fista.maxSteps)) steps at \(grouped(nUnsolved)) tokens: their codes are not the best yet"
      )
    }
    results.sort { $0.place < $1.place }
    if json {
      try printJSON(
        Output(cache: cache, model: self.model, results: results.map(\.result), latents: results.map(\.latents)))
    } else {
      print(table(results.map(\.result)))
      for entry in results where contexts > 0 {
        print(
          entry.latents.isEmpty
            ? "\n\(entry.result.run): no latent is active on 0.02 % to 2 % of the held-out tokens and in 5 texts"
            : "\n\(entry.result.run): latents and the held-out texts that activate them most")
        for latent in entry.latents { print(text(of: latent, texts)) }
      }
    }
  }

  private struct Output: Encodable {
    var cache, model: String
    var results: [EvaluationResult]
    var latents: [[LatentContexts]]
  }

  private func table(_ results: [EvaluationResult]) -> String {
    var table = TextTable([
      ("run", .left), ("hook", .left), ("arch", .left), ("L0", .right), ("FVU", .right), ("MSE", .right),
      ("alive", .right), ("dead", .right), ("CE", .right), ("spliced", .right), ("zero", .right), ("mean", .right),
      ("CE incr.", .right), ("rec. zero", .right), ("rec. mean", .right), ("KL", .right),
    ])
    for r in results {
      table.add([
        r.run, r.hook + (r.targetHook.map { " → \($0)" } ?? ""), r.architecture, fixed(r.l0, 1), fixed(r.fvu, 4),
        fixed(r.mse, 4), grouped(r.alive),
        grouped(r.dead), fixed(r.ceOriginal, 4), fixed(r.ceSpliced, 4), fixed(r.ceZeroAblated, 4),
        fixed(r.ceMeanAblated, 4), fixed(r.ceIncrease, 4), fixed(r.lossRecoveredZero, 4),
        fixed(r.lossRecoveredMean, 4), fixed(r.kl, 4),
      ])
    }
    guard let first = results.first else { return table.text }
    return """
      \(table.text)
      \(grouped(first.sequences)) held-out sequences, \(grouped(first.tokens)) tokens, \(grouped(first.scoredTokens)) \
      scored; CE and KL in nats, rec.: loss recovered against zero- and mean-ablation

      \(predictions(results))
      top-1: the likeliest token is the original's (same), the text's (original → spliced); distance ½ Σ|p − q|; error \
      share: of the CE increase, gone when x − x̂ is put back halfway through the layers left; FVU of the first and the \
      last of the residual streams after the hook (all in --json)\(alignmentTax(results))
      """
  }

  /// Of the runs that have one.
  private func alignmentTax(_ results: [EvaluationResult]) -> String {
    let taxes = results.compactMap { r in r.alignmentTax.map { (r, $0) } }
    if taxes.isEmpty { return "" }
    var table = TextTable([
      ("run", .left), ("KL without SAE", .right), ("with", .right), ("CE original", .right), ("without SAE", .right),
      ("with", .right),
    ])
    for (r, tax) in taxes {
      table.add([
        r.run, fixed(tax.kl, 4), fixed(r.kl, 4), fixed(r.ceOriginal, 4), fixed(tax.ce, 4), fixed(r.ceSpliced, 4),
      ])
    }
    return """


      \(table.text)
      alignment tax: the model with the half-layers that were trained beside the SAE, against the original; FVU and MSE of these
      runs are of its activation
      """
  }

  private func predictions(_ results: [EvaluationResult]) -> String {
    var table = TextTable([
      ("run", .left), ("top-1 same", .right), ("correct", .right), ("distance", .right), ("error share", .right),
      ("later FVU", .right), ("SAE µs/token", .right), ("layers", .right), ("predictions", .right),
    ])
    for r in results {
      let later = [r.downstream.first, r.downstream.count > 1 ? r.downstream.last : nil].compactMap {
        $0.map { fixed($0.fvu, 4) }
      }
      table.add([
        r.run, fixed(r.top1Agreement, 4), "\(fixed(r.top1AccuracyOriginal, 4)) → \(fixed(r.top1AccuracySpliced, 4))",
        fixed(r.statisticalDistance, 4), r.errorShare.map { fixed($0, 3) } ?? "–",
        later.isEmpty ? "–" : later.joined(separator: " … "), fixed(r.microsecondsPerToken.encodeDecode, 2),
        fixed(r.microsecondsPerToken.layers, 2), fixed(r.microsecondsPerToken.predictions, 2),
      ])
    }
    return table.text
  }

  private func text(of latent: LatentContexts, _ tokenizer: BPETokenizer?) -> String {
    func text(_ ids: [UInt32]) -> String {
      (tokenizer?.decode(ids, skipSpecialTokens: false) ?? "\(ids)").replacing("\n", with: "⏎")
    }
    let lines = latent.contexts.map { context in
      "  \(fixed(Double(context.activation), 2))  …\(text(context.before))⟦\(text([context.token]))⟧"
        + "\(text(context.after))…"
    }
    return (["latent \(latent.latent), active on \(fixed(latent.frequency * 100, 2)) % of tokens"] + lines)
      .joined(separator: "\n")
  }
}

extension Evaluation.Subject {
  /// What is evaluated of a run, or of a folder in SAELens' layout, and where it comes from.
  static func open(_ run: String) throws -> (subject: Evaluation.Subject, provenance: SAELensFormat.Provenance) {
    let file = SAELensFormat.configurationFile
    guard ["\(run)/sae", run].contains(where: { FileManager.default.fileExists(atPath: "\($0)/\(file)") }) else {
      throw EvaluateError.missing(
        "\(run): no SAE there (sae/\(file) or \(file)); give the folder of a finished run of `actcache train`, or one in "
          + "SAELens' layout")
    }
    let (sae, provenance) = try SAELensFormat.open(run: run)
    let subject = Evaluation.Subject(
      name: run, sae: sae, weightsDigest: provenance.weightsDigest, halfLayers: try RunFolder(run).trainedHalfLayers())
    return (subject, provenance)
  }
}

/// Keeps an evaluation in the run's folder; one that cannot be written is no reason to lose the numbers.
func keep(_ evaluated: Evaluation.Evaluated, of run: String, _ key: StoredEvaluation.Key) {
  do { try StoredEvaluation(evaluated, key: key).save(in: run) } catch {
    printError("note: the evaluation was not kept: \(error)")
  }
}
