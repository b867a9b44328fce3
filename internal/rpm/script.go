package rpm

import "fmt"

// Event is when a script of a package runs.
type Event string

const (
	PreTrans  Event = "pretrans"
	PreIn     Event = "pre"
	PostIn    Event = "post"
	PreUn     Event = "preun"
	PostUn    Event = "postun"
	PostTrans Event = "posttrans"
	OnVerify  Event = "verify"
)

// ScriptFlags say how a script's text is to be treated (RPMSCRIPT_FLAG_* of rpm's rpmscript.h).
type ScriptFlags uint32

const (
	ScriptExpand   ScriptFlags = 1 << 0 // macros are expanded at installation
	ScriptQuery    ScriptFlags = 1 << 1 // query format is expanded at installation
	ScriptCritical ScriptFlags = 1 << 2 // its failure fails the transaction
)

// Lua is the interpreter that is part of rpm itself.
const Lua = "<lua>"

// Script is a script of a package. Interpreter is the program, with its arguments, that gets the text: a shell,
// [Lua], or any other one, which without a text is the whole script (%post -p /sbin/ldconfig).
type Script struct {
	Event       Event
	Interpreter []string
	Text        string
	Flags       ScriptFlags
}

// Trigger is a script that runs when other packages come or go.
type Trigger struct {
	Interpreter string
	Text        string
	Flags       ScriptFlags
	// On names the packages. The Sense of each says when the script runs: SenseTriggerPreIn, SenseTriggerIn,
	// SenseTriggerUn or SenseTriggerPost.
	On []Relation
}

func (h *Header) scripts() ([]Script, error) {
	var all []Script
	d := decoder{h: h}
	for _, s := range []struct {
		event             Event
		text, prog, flags Tag
	}{
		{PreTrans, TagPreTrans, TagPreTransProg, TagPreTransFlags},
		{PreIn, TagPreIn, TagPreInProg, TagPreInFlags},
		{PostIn, TagPostIn, TagPostInProg, TagPostInFlags},
		{PreUn, TagPreUn, TagPreUnProg, TagPreUnFlags},
		{PostUn, TagPostUn, TagPostUnProg, TagPostUnFlags},
		{PostTrans, TagPostTrans, TagPostTransProg, TagPostTransFlags},
		{OnVerify, TagVerifyScript, TagVerifyScriptProg, TagVerifyFlags},
	} {
		if !h.Has(s.text) && !h.Has(s.prog) {
			continue
		}
		one := Script{Event: s.event, Interpreter: d.strings(s.prog), Text: d.string(s.text),
			Flags: ScriptFlags(d.number(s.flags))} //nolint:gosec // 32 bits in the format
		if len(one.Interpreter) == 0 {
			one.Interpreter = []string{"/bin/sh"}
		}
		all = append(all, one)
	}
	return all, d.err
}

// FileTrigger is a script that runs when files come or go (rpm 4.13 and later). It finds their names on its standard
// input. On names the prefixes of paths; the Sense of each says when the script runs: SenseTriggerIn, SenseTriggerUn or
// SenseTriggerPost.
type FileTrigger struct {
	Trigger
	Priority uint32 // the highest runs first
}

// triggerTags are where a header has triggers of a kind.
type triggerTags struct{ text, prog, scriptFlags, name, index, version, flags, priority Tag }

var (
	packageTriggers = triggerTags{TagTriggerScripts, TagTriggerScriptProg, TagTriggerFlagsOf, TagTriggerName, TagTriggerIndex,
		TagTriggerVersion, TagTriggerFlags, 0}
	fileTriggers = triggerTags{TagFileTriggerName - 3, TagFileTriggerName - 2, TagFileTriggerName - 1, TagFileTriggerName,
		TagFileTriggerName + 1, TagFileTriggerName + 2, TagFileTriggerName + 3, TagFileTriggerPriorities}
	transFileTriggers = triggerTags{TagTransFileTriggerName - 3, TagTransFileTriggerName - 2, TagTransFileTriggerName - 1, TagTransFileTriggerName,
		TagTransFileTriggerName + 1, TagTransFileTriggerName + 2, TagTransFileTriggerName + 3, TagTransFileTriggerPriorities}
)

func (h *Header) triggers(tags triggerTags) ([]Trigger, error) {
	d := decoder{h: h}
	texts := d.strings(tags.text)
	n := len(texts)
	progs, flags := d.stringsOf(tags.prog, n), d.numbers(tags.scriptFlags, n)
	on, err := h.relations(tags.name, tags.flags, tags.version)
	if d.err == nil {
		d.err = err
	}
	indexes := d.numbers(tags.index, len(on))
	if d.err != nil {
		return nil, d.err
	}
	all := make([]Trigger, n)
	for i := range all {
		all[i] = Trigger{Interpreter: progs[i], Text: texts[i], Flags: ScriptFlags(flags[i])} //nolint:gosec // 32 bits in the format
		if all[i].Interpreter == "" {
			all[i].Interpreter = "/bin/sh"
		}
	}
	for i, r := range on {
		if indexes[i] >= uint64(n) {
			return nil, fmt.Errorf("trigger on %s belongs to script %d of %d", r, indexes[i], n)
		}
		t := &all[indexes[i]]
		t.On = append(t.On, r)
	}
	return all, nil
}

func (h *Header) fileTriggers(tags triggerTags) ([]FileTrigger, error) {
	triggers, err := h.triggers(tags)
	if err != nil {
		return nil, err
	}
	d := decoder{h: h}
	priorities := d.numbers(tags.priority, len(triggers))
	all := make([]FileTrigger, len(triggers))
	for i, t := range triggers {
		all[i] = FileTrigger{t, uint32(priorities[i])} //nolint:gosec // 32 bits in the format
	}
	return all, d.err
}
