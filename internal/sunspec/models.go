package sunspec

// The models. Their layouts are facts of the SunSpec Alliance's model definitions (github.com/sunspec/models,
// Apache-2.0).
var (
	// Common names the device: manufacturer, model, serial number. Every device has it first.
	Common = define(1, "common", common)
	// Inverter1, Inverter2 and Inverter3 are inverters with one phase, a split phase, and three phases.
	Inverter1 = define(101, "inverter (single phase)", inverter)
	Inverter2 = define(102, "inverter (split phase)", inverter)
	Inverter3 = define(103, "inverter (three phase)", inverter)
	// InverterFloat1 to InverterFloat3 are the same in floating point.
	InverterFloat1 = define(111, "inverter (single phase) float", inverterFloat)
	InverterFloat2 = define(112, "inverter (split phase) float", inverterFloat)
	InverterFloat3 = define(113, "inverter (three phase) float", inverterFloat)
	// Nameplate is what the inverter is rated for.
	Nameplate = define(120, "nameplate", nameplate)
	// Meter1 to Meter3Delta are meters: of one phase, of a split phase, of three phases with and without a
	// neutral conductor.
	Meter1      = define(201, "meter (single phase)", meter)
	Meter2      = define(202, "meter (split phase)", meter)
	Meter3      = define(203, "meter (wye)", meter)
	Meter3Delta = define(204, "meter (delta)", meter)
	// MeterFloat1 to MeterFloat3Delta are the same in floating point.
	MeterFloat1      = define(211, "meter (single phase) float", meterFloat)
	MeterFloat2      = define(212, "meter (split phase) float", meterFloat)
	MeterFloat3      = define(213, "meter (wye) float", meterFloat)
	MeterFloat3Delta = define(214, "meter (delta) float", meterFloat)
	// Measure is what a distributed resource measures on the alternating current's side (IEEE 1547-2018).
	Measure = define(701, "DER AC measurement", measure)
	// Capacity is what it is rated for.
	Capacity = define(702, "DER capacity", capacity)
)

const common = `
string16: Mn Md
string8: Opt Vr
string16: SN
uint16: DA
pad: Pad
`

const inverter = `
uint16*A_SF: A AphA AphB AphC
sf: A_SF
uint16*V_SF: PPVphAB PPVphBC PPVphCA PhVphA PhVphB PhVphC
sf: V_SF
int16*W_SF: W
sf: W_SF
uint16*Hz_SF: Hz
sf: Hz_SF
int16*VA_SF: VA
sf: VA_SF
int16*VAr_SF: VAr
sf: VAr_SF
int16*PF_SF: PF
sf: PF_SF
acc32*WH_SF: WH
sf: WH_SF
uint16*DCA_SF: DCA
sf: DCA_SF
uint16*DCV_SF: DCV
sf: DCV_SF
int16*DCW_SF: DCW
sf: DCW_SF
int16*Tmp_SF: TmpCab TmpSnk TmpTrns TmpOt
sf: Tmp_SF
enum16: St StVnd
bits32: Evt1 Evt2 EvtVnd1 EvtVnd2 EvtVnd3 EvtVnd4
`

const inverterFloat = `
float32: A AphA AphB AphC PPVphAB PPVphBC PPVphCA PhVphA PhVphB PhVphC W Hz VA VAr PF WH DCA DCV DCW TmpCab TmpSnk TmpTrns TmpOt
enum16: St StVnd
bits32: Evt1 Evt2 EvtVnd1 EvtVnd2 EvtVnd3 EvtVnd4
`

const nameplate = `
enum16: DERTyp
uint16*WRtg_SF: WRtg
sf: WRtg_SF
uint16*VARtg_SF: VARtg
sf: VARtg_SF
int16*VArRtg_SF: VArRtgQ1 VArRtgQ2 VArRtgQ3 VArRtgQ4
sf: VArRtg_SF
uint16*ARtg_SF: ARtg
sf: ARtg_SF
int16*PFRtg_SF: PFRtgQ1 PFRtgQ2 PFRtgQ3 PFRtgQ4
sf: PFRtg_SF
uint16*WHRtg_SF: WHRtg
sf: WHRtg_SF
uint16*AhrRtg_SF: AhrRtg
sf: AhrRtg_SF
uint16*MaxChaRte_SF: MaxChaRte
sf: MaxChaRte_SF
uint16*MaxDisChaRte_SF: MaxDisChaRte
sf: MaxDisChaRte_SF
pad: Pad
`

const meter = `
int16*A_SF: A AphA AphB AphC
sf: A_SF
int16*V_SF: PhV PhVphA PhVphB PhVphC PPV PhVphAB PhVphBC PhVphCA
sf: V_SF
int16*Hz_SF: Hz
sf: Hz_SF
int16*W_SF: W WphA WphB WphC
sf: W_SF
int16*VA_SF: VA VAphA VAphB VAphC
sf: VA_SF
int16*VAR_SF: VAR VARphA VARphB VARphC
sf: VAR_SF
int16*PF_SF: PF PFphA PFphB PFphC
sf: PF_SF
acc32*TotWh_SF: TotWhExp TotWhExpPhA TotWhExpPhB TotWhExpPhC TotWhImp TotWhImpPhA TotWhImpPhB TotWhImpPhC
sf: TotWh_SF
acc32*TotVAh_SF: TotVAhExp TotVAhExpPhA TotVAhExpPhB TotVAhExpPhC TotVAhImp TotVAhImpPhA TotVAhImpPhB TotVAhImpPhC
sf: TotVAh_SF
acc32*TotVArh_SF: TotVArhImpQ1 TotVArhImpQ1PhA TotVArhImpQ1PhB TotVArhImpQ1PhC TotVArhImpQ2 TotVArhImpQ2PhA TotVArhImpQ2PhB TotVArhImpQ2PhC TotVArhExpQ3 TotVArhExpQ3PhA TotVArhExpQ3PhB TotVArhExpQ3PhC TotVArhExpQ4 TotVArhExpQ4PhA TotVArhExpQ4PhB TotVArhExpQ4PhC
sf: TotVArh_SF
bits32: Evt
`

const meterFloat = `
float32: A AphA AphB AphC PhV PhVphA PhVphB PhVphC PPV PPVphAB PPVphBC PPVphCA Hz W WphA WphB WphC VA VAphA VAphB VAphC VAR VARphA VARphB VARphC PF PFphA PFphB PFphC TotWhExp TotWhExpPhA TotWhExpPhB TotWhExpPhC TotWhImp TotWhImpPhA TotWhImpPhB TotWhImpPhC TotVAhExp TotVAhExpPhA TotVAhExpPhB TotVAhExpPhC TotVAhImp TotVAhImpPhA TotVAhImpPhB TotVAhImpPhC TotVArhImpQ1 TotVArhImpQ1phA TotVArhImpQ1phB TotVArhImpQ1phC TotVArhImpQ2 TotVArhImpQ2phA TotVArhImpQ2phB TotVArhImpQ2phC TotVArhExpQ3 TotVArhExpQ3phA TotVArhExpQ3phB TotVArhExpQ3phC TotVArhExpQ4 TotVArhExpQ4phA TotVArhExpQ4phB TotVArhExpQ4phC
bits32: Evt
`

const measure = `
enum16: ACType St InvSt ConnSt
bits32: Alrm DERMode
int16*W_SF: W
int16*VA_SF: VA
int16*Var_SF: Var
int16*PF_SF: PF
int16*A_SF: A
uint16*V_SF: LLV LNV
uint32*Hz_SF: Hz
uint64*TotWh_SF: TotWhInj TotWhAbs
uint64*TotVarh_SF: TotVarhInj TotVarhAbs
int16*Tmp_SF: TmpAmb TmpCab TmpSnk TmpTrns TmpSw TmpOt
int16*W_SF: WL1
int16*VA_SF: VAL1
int16*Var_SF: VarL1
int16*PF_SF: PFL1
int16*A_SF: AL1
uint16*V_SF: VL1L2 VL1
uint64*TotWh_SF: TotWhInjL1 TotWhAbsL1
uint64*TotVarh_SF: TotVarhInjL1 TotVarhAbsL1
int16*W_SF: WL2
int16*VA_SF: VAL2
int16*Var_SF: VarL2
int16*PF_SF: PFL2
int16*A_SF: AL2
uint16*V_SF: VL2L3 VL2
uint64*TotWh_SF: TotWhInjL2 TotWhAbsL2
uint64*TotVarh_SF: TotVarhInjL2 TotVarhAbsL2
int16*W_SF: WL3
int16*VA_SF: VAL3
int16*Var_SF: VarL3
int16*PF_SF: PFL3
int16*A_SF: AL3
uint16*V_SF: VL3L1 VL3
uint64*TotWh_SF: TotWhInjL3 TotWhAbsL3
uint64*TotVarh_SF: TotVarhInjL3 TotVarhAbsL3
uint16: ThrotPct
bits32: ThrotSrc
sf: A_SF V_SF Hz_SF W_SF PF_SF VA_SF Var_SF TotWh_SF TotVarh_SF Tmp_SF
string32: MnAlrmInfo
`

const capacity = `
uint16*W_SF: WMaxRtg WOvrExtRtg
uint16*PF_SF: WOvrExtRtgPF
uint16*W_SF: WUndExtRtg
uint16*PF_SF: WUndExtRtgPF
uint16*VA_SF: VAMaxRtg
uint16*Var_SF: VarMaxInjRtg VarMaxAbsRtg
uint16*W_SF: WChaRteMaxRtg WDisChaRteMaxRtg
uint16*VA_SF: VAChaRteMaxRtg VADisChaRteMaxRtg
uint16*V_SF: VNomRtg VMaxRtg VMinRtg
uint16*A_SF: AMaxRtg
uint16*PF_SF: PFOvrExtRtg PFUndExtRtg
uint16*S_SF: ReactSusceptRtg
enum16: NorOpCatRtg AbnOpCatRtg
bits32: CtrlModes
bits16: IntIslandCatRtg
uint16*W_SF: WMax WMaxOvrExt
uint16*PF_SF: WOvrExtPF
uint16*W_SF: WMaxUndExt
uint16*PF_SF: WUndExtPF
uint16*VA_SF: VAMax
uint16*Var_SF: VarMaxInj VarMaxAbs
uint16*W_SF: WChaRteMax WDisChaRteMax
uint16*VA_SF: VAChaRteMax VADisChaRteMax
uint16*V_SF: VNom VMax VMin
uint16*A_SF: AMax
uint16*PF_SF: PFOvrExt PFUndExt
bits16: IntIslandCat
sf: W_SF PF_SF VA_SF Var_SF V_SF A_SF S_SF
`
