/// A passage beside the plot.
struct Vignette {
  /// Whether it fits under a roof as well.
  var anywhere: Bool
  var text: String
}

let vignettes: [Vignette] =
  ([
    (true, "A [fly/sense=fly.insect] <buzz> around {A.poss} (nose|head|left ear)."),
    (false, "A [bat/sense=bat.animal] [<fly>/sense=fly.move] over {A.poss} head and <be> gone."),
    (false, "Far away (a dog|some dog) <begin> to [bark/sense=bark.sound]."),
    (false, "{A} <touch> a tree and <feel> the rough [bark/sense=bark.tree]."),
    (true, "Somewhere a bell <begin> to [ring/sense=ring.sound]."),
    (false, "[Mushrooms/entity=object] <grow+> in a [ring/sense=ring.circle] under a tree."),
    (false, "{A} [<watch>/sense=watch.look] the (clouds|birds|ants) for a while."),
    (true, "{A} <look> at the clock and [<watch>/sense=watch.look] the hands move."),
    (true, "A [light/sense=light.lamp] <shine> in a window."),
    (true, "It <be> still [light/sense=light.day] outside."),
    (false, "A [light/sense=light.weight] breeze <carry> the smell of hay."),
    (false, "The [leaves/sense=leaves.plant] <whisper+> in the wind."),
    (false, "A ripe pear [<fall>/sense=fall.drop] to the ground with a thump."),
    (true, "A spoon [<fall>/sense=fall.drop] from a table."),
    (false, "A grasshopper [<spring>/sense=spring.jump] out of the grass."),
    (false, "The [sun/weather] [<rise>/sense=rose.up] above the (trees|roofs|hills)."),
    (false, "A [rose/sense=rose.flower] <grow> beside the path. It <smell> sweet."),
    (false, "A neighbor [<wave>/sense=wave.hand] from the road, and {A} [<wave>/sense=wave.hand] back."),
    (true, "What [kind/sense=kind.sort] of day will this be? {A} <do> not know."),
    (true, "{A} <have> a [cold/sense=cold.illness] and <sneeze> [three/number=3] times."),
    (true, "The floor <be> [cold/sense=cold.weather] under {A.poss} feet."),
    (true, "{A} <find> an old [nail/sense=nail.metal] and <put> it away, so that nobody <will> step on it."),
    (true, "{A} <bite> a [nail/sense=nail.finger], as {A.they} often <do>."),
    (true, "{A} <light> a [match/sense=match.fire] and then a candle."),
    (true, "{A} <talk> about the big ball [match/sense=match.game] on [Sunday/time]."),
    (true, "A [letter/sense=letter.mail] <come> for {A.obj}, with a [red/color] stamp."),
    (true, "{A} <draw> the [letter/sense=letter.alphabet] S in the dust. It <look> like a snake."),
    (false, "{A} <sit> down on a [rock/sense=rock.stone]."),
    (true, "An old chair [<rock>/sense=rock.sway] to and fro."),
    (true, "{A} [<pet>/sense=pet.stroke] a (cat|dog|lamb) that <come> by."),
    (false, "{A} <have> to [duck/sense=duck.bend] under a low branch."),
    (true, "{A} <count>: [one/number=1], [two/number=2], [three/number=3], [four/number=4]."),
    (
      false,
      "([two/number=2]|[three/number=3]|[four/number=4]|[five/number=5]|[six/number=6]|[seven/number=7]|[eight/number=8]) (birds|crows|geese) <sit+> on a fence."
    ),
    (
      false,
      "([two/number=2]|[three/number=3]|[four/number=4]|[five/number=5]|[six/number=6]|[seven/number=7]|[eight/number=8]) (ducks|frogs|lambs) <cross+> the road, [one/number=1] behind the other."
    ),
    (true, "{A} <eat> {treat}, down to the last crumb."),
    (true, "{A} <be> [hungry/emotion=hungry] and <eat> {treat}."),
    (true, "{A} <sing> a song about a [bright/sense=bright.light] star."),
    (true, "There <be> a [hard/sense=hard.difficult] riddle that {A} <can> not solve."),
    (true, "The bread <be> [hard/sense=hard.firm] as stone, but {A} <eat> it."),
    (false, "A [seal/sense=seal.stamp] of [red/color] wax <lie> in the grass, as if from an old letter."),
    (false, "A snail <cross> the path. It <take> its time."),
    (false, "A rainbow <stand> over {P}, [red/color], [yellow/color], [green/color] and [blue/color]."),
    (true, "{A} <whistle>, and somebody <whistle> back."),
  ] as [(Bool, String)]).map { Vignette(anywhere: $0.0, text: $0.1) }
