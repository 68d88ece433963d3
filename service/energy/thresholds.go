package energy

// Thresholds are the figures that the checks of a device against the sky and against its neighbours turn on.
// They are part of the rules version: two verifiers of one version hold the same. Ratios are in basis points,
// yields in Wh per kW of panels.
type Thresholds struct {
	Tolerance     uint64 // Wh by which the registers of one interval may disagree: five meters, each read to the watt-hour
	Envelope      uint64 // bp of the bound that a device may reach before anything is known of it or its neighbours
	Margin        uint64 // bp of the largest ratio of commissioning that becomes a device's envelope
	PeerEnvelope  uint64 // bp of the neighbours' median envelope above which no device's is
	Commissioning int    // days with sun until a device is known
	Bright        int64  // W/m² above which a ratio to the bound says something
	Alive         uint64 // bp of the neighbours' day below which a day shows nothing of what panels can do …
	AliveYield    uint64 // … or this yield, without neighbours
	Altitude      uint8  // hundreds of metres: no site's is taken for more, as altitude is declared and lifts the bound

	SkyShare uint64 // bp of a day's production above the bound that make it an alarm day …
	SkyYield uint64 // … if they are more than this yield as well

	MinPeers  int    // devices that make neighbours …
	MinOwners int    // … of at least so many owners
	Upper     uint64 // bp of the neighbours that are below the upper one, which says how unevenly a day treated them …
	UpperMost uint64 // … and which counts for no more than so many bp of the median one …
	UpperMore uint64 // … plus so many bp of what a clear day could give
	Dark      uint64 // bp of what a clear day could give: where the median neighbour has less, snow lies, and nobody can be compared
	Ratios    int    // days of comparison with neighbours whose upper quartile a device's base follows, at most 60 …
	BaseRise  uint64 // … up by so many bp in a day at most …
	BaseFall  uint64 // … and down by so many …
	BaseMost  uint64 // … and never to more than so many bp of what it was at first, or the neighbours' own, if that is more
	NewBase   uint64 // bp: what the base of a device is taken for that has not learnt its own …
	AnewBase  uint64 // … and if it, or its meters, were frozen within FreezeAgain days
	PeerShare uint64 // bp of what the neighbours' day makes likely for a device above which …
	PeerClear uint64 // … plus so many bp of what a clear day could give it, its day is an alarm day …
	CutClear  uint64 // … and plus so many it is cut, at any time of the day: panels that look east are ahead of others before noon

	AheadShare uint64 // bp of what neighbours make likely that a day may be without running ahead …
	AheadClear uint64 // … by more than so many bp of what a clear day could give it in all, or there is an alarm

	Alarms      int    // alarm days …
	AlarmDays   uint32 // … within so many days that freeze a device
	Freeze      uint32 // days of the first freeze
	FreezeMost  uint32 // days of the longest: each further one is twice as long as the one before …
	FreezeAgain uint32 // … if it follows within so many days
}

// DefaultThresholds are those in force. How they were chosen, and what they catch, is in docs/energy-fraud.md.
func DefaultThresholds() Thresholds {
	return Thresholds{
		Tolerance: 5, Envelope: 7_000, Margin: 11_000, PeerEnvelope: 15_000, Commissioning: 60, Bright: 200, Alive: 1_000, AliveYield: 100, Altitude: 30,
		SkyShare: 800, SkyYield: 100,
		MinPeers: 5, MinOwners: 3, Upper: 8_000, UpperMost: 15_000, UpperMore: 1_000, Dark: 300,
		Ratios: 28, BaseRise: 100, BaseFall: 50, BaseMost: 25_000, NewBase: 12_000, AnewBase: 10_000,
		PeerShare: 12_500, PeerClear: 270, CutClear: 540, AheadShare: 11_000, AheadClear: 1_350,
		Alarms: 2, AlarmDays: 7, Freeze: 7, FreezeMost: 56, FreezeAgain: 90,
	}
}

// rule is one of the checks that catch a cheat. Tests turn one off to see the cheat pass.
type rule uint32

const (
	ruleConservation rule = 1 << iota
	ruleSky
	ruleEnvelope
	ruleStorage
	ruleNetting
	rulePeers
	ruleAhead
	ruleFreeze
	ruleMeters
	ruleGap
	ruleDrop
	ruleNamed
	ruleMarks
	ruleAnew
)
