import Report
import SAE

extension Plan {
  /// For the terminal.
  package var text: String {
    var parts = [streamTable]
    if !rates.isEmpty { parts.append(rateTable) }
    if !shapes.isEmpty { parts.append(runTable) }
    parts += notes.map { "note: \($0)" }
    parts.append(sentence)
    return parts.joined(separator: "\n\n")
  }

  private var streamTable: String {
    var table = TextTable([
      ("stream", .left), ("for", .left), ("width", .right), ("dtype", .left), ("codec", .left), ("B/token", .right),
      ("on disk", .right), ("there", .right), ("how", .left),
    ])
    for stream in streams {
      table.add([
        stream.name, stream.why, "\(stream.width)", stream.dtype, stream.codec, fixed(stream.bytesPerToken, 1),
        byteSize(stream.bytes), stream.tokensThere == 0 ? "" : "\(grouped(stream.tokensThere)) tokens", stream.how,
      ])
    }
    let free = freeBytes.map { ", \(byteSize($0)) are free" } ?? ""
    return """
      \(cache): \(objective) training on \(grouped(harvestTokens)) tokens, context \(context); \(byteSize(newBytes)) to \
      write\(free)
      \(table.text)
      """
  }

  private var rateTable: String {
    let slowest = rates.map { 1 / $0.tokensPerSecond }.max() ?? 1
    var table = TextTable([
      ("measured here", .left), ("threads", .right), ("tokens/s", .right), ("µs/token", .right), ("", .left),
      ("how", .left),
    ])
    for rate in rates {
      let seconds = 1 / rate.tokensPerSecond
      let digits = seconds < 1e-5 ? 3 : seconds < 1e-3 ? 1 : 0
      table.add([
        rate.what, "\(rate.threads)", threeDigits(rate.tokensPerSecond), fixed(seconds * 1e6, digits),
        textBar(seconds / slowest, width: 16), rate.how,
      ])
    }
    return """
      \(machine.cpu), \(machine.cores) cores, OpenBLAS \(machine.blasCore), load \(fixed(machine.load, 1)) at the start
      \(table.text)
      """
  }

  private var runTable: String {
    var table = TextTable([
      ("runs", .right), ("", .left), ("tokens each", .right), ("from the cache", .right), ("model in the loop", .right),
    ])
    for shape in shapes {
      let each = Double(shape.tokens) / Double(shape.runs)
      table.add([
        grouped(shape.runs),
        "\(shape.arch.rawValue), \(grouped(shape.latents)) latents"
          + (shape.arch.usesK ? ", k \(shape.k)" : "") + ", batch \(grouped(shape.batch))",
        grouped(Int(each)), "\(duration(each / shape.cachedTokensPerSecond)) each",
        shape.liveTokensPerSecond.map { "\(duration(each / $0)) each" } ?? "not measured",
      ])
    }
    return table.text
  }
}
