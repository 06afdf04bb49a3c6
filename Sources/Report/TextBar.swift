/// A bar for the terminal: `share` (0 to 1) of `width` cells, to an eighth of a cell. Pale ones stand for waiting.
package func textBar(_ share: Double, width: Int = 24, isPale: Bool = false) -> String {
  let eighths = share.isFinite ? Int((min(max(share, 0), 1) * Double(8 * width)).rounded()) : 0
  if isPale { return String(repeating: "░", count: (eighths + 4) / 8) }
  // What is there at all shows.
  guard eighths > 0 else { return share > 0 && share.isFinite ? "▏" : "" }
  let parts = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"]
  return String(repeating: "█", count: eighths / 8) + parts[eighths % 8]
}

/// A rate with three digits: 7.44 k, 593 k, 1.06 M.
package func threeDigits(_ value: Double) -> String {
  guard value.isFinite else { return "\(value)" }
  let units = ["", " k", " M", " G", " T"]
  var (number, unit) = (abs(value), 0)
  // 999.6 would be written as 1000.
  while number >= 999.5 && unit < units.count - 1 {
    number /= 1000
    unit += 1
  }
  let digits = number >= 99.95 ? 0 : number >= 9.995 ? 1 : 2
  return (value < 0 ? "-" : "") + fixed(number, digits) + units[unit]
}
