import ActCache
import Harvest

extension Subject {
  package func width(of hook: String) throws -> Int {
    if let source { return try source.width(of: hook) }
    guard let cache else { throw MeasureError.invalid("give --cache or --model") }
    return try cache.hook(hook).width
  }

  /// Activations to try codecs on: exact ones where there is a model, else as the cache stores them.
  package func activations(hook: String, nTokens: Int) throws -> CodecBenchmark.Values {
    if source != nil {
      let trial = try TrialHarvest(self, hooks: [hook], dtype: "f32").run(tokens: nTokens)
      return try Subject.read(trial.cache, hook: hook, nTokens: nTokens, origin: "exact, of the model")
    }
    guard let cache else { throw MeasureError.invalid("no activations to measure: give --cache or --model") }
    let dtype = try cache.hook(hook).dtype
    let note = dtype == "f32" ? "exact" : "already rounded to \(dtype), so what other types lose is not to be seen"
    return try Subject.read(cache, hook: hook, nTokens: nTokens, origin: "of the cache, \(note)")
  }

  private static func read(
    _ cache: CacheReader, hook: String, nTokens: Int, origin: String
  ) throws -> CodecBenchmark.Values {
    let reader = try SequenceReader(cache, seed: 0)
    let (width, context) = (try cache.hook(hook).width, reader.context)
    let n = min(reader.count, max(1, nTokens / context))
    var sequence = [Float](repeating: 0, count: context * width)
    var values: [Float] = []
    values.reserveCapacity(n * context * width)
    for i in 0..<n {
      var span = sequence.mutableSpan
      try reader.read(i, hook: hook, into: &span)
      values += sequence
    }
    return CodecBenchmark.Values(hook: hook, origin: origin, values: values, width: width, context: context)
  }
}
