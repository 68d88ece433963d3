package openapi

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// protoFile is what the tables need of one .proto file of chain/proto. Those are written in one plain form, a
// statement in a line, so that reading them takes no compiler.
type protoFile struct {
	services []protoService
	messages []protoMessage
}

type protoService struct {
	name, doc string
	calls     []protoCall
}

type protoCall struct {
	name, in, out, doc string
	path               string // of the REST interface; "" for none
}

type protoMessage struct {
	name, doc string
	enum      bool
	signers   []string
	fields    []protoField
}

type protoField struct {
	name, kind, doc string
	repeated        bool
}

var (
	openLine  = regexp.MustCompile(`^(service|message|enum) (\w+) \{(\})?$`)
	callLine  = regexp.MustCompile(`^rpc (\w+)\((\w+)\) returns \((\w+)\)(;| \{)$`)
	pathLine  = regexp.MustCompile(`^option \(google\.api\.http\)\.get = "([^"]+)";$`)
	signLine  = regexp.MustCompile(`^option \(cosmos\.msg\.v1\.signer\) = "(\w+)";$`)
	fieldLine = regexp.MustCompile(`^(repeated )?([\w.]+) (\w+) = \d+( \[.*\])?;$`)
	enumLine  = regexp.MustCompile(`^(\w+) = \d+;$`)
	otherLine = regexp.MustCompile(`^(syntax|package|import|option|reserved)\b.*;$`)
)

// readProto reads a file. A line that it does not know is an error: a table must not leave anything out.
func readProto(path string) (*protoFile, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f := new(protoFile)
	var doc []string
	in, inCall := "", false
	take := func() string {
		s := strings.Join(doc, " ")
		doc = nil
		return s
	}
	for n, line := range strings.Split(string(raw), "\n") {
		line = strings.TrimSpace(line)
		comment, isComment := strings.CutPrefix(line, "//")
		switch {
		case isComment:
			doc = append(doc, strings.TrimSpace(comment))
		case line == "":
			doc = nil
		case openLine.MatchString(line):
			m := openLine.FindStringSubmatch(line)
			if m[1] == "service" {
				f.services = append(f.services, protoService{name: m[2], doc: take()})
			} else {
				f.messages = append(f.messages, protoMessage{name: m[2], doc: take(), enum: m[1] == "enum"})
			}
			if in = m[1]; m[3] != "" {
				in = ""
			}
		case callLine.MatchString(line) && in == "service":
			m := callLine.FindStringSubmatch(line)
			s := &f.services[len(f.services)-1]
			s.calls = append(s.calls, protoCall{name: m[1], in: m[2], out: m[3], doc: take()})
			inCall = m[4] != ";"
		case pathLine.MatchString(line) && inCall:
			s := &f.services[len(f.services)-1]
			s.calls[len(s.calls)-1].path = pathLine.FindStringSubmatch(line)[1]
		case signLine.MatchString(line) && in == "message":
			m := &f.messages[len(f.messages)-1]
			m.signers = append(m.signers, signLine.FindStringSubmatch(line)[1])
		case line == "}" && inCall:
			inCall = false
		case line == "}":
			in, doc = "", nil
		case otherLine.MatchString(line):
			doc = nil
		case in == "message" && fieldLine.MatchString(line):
			m := fieldLine.FindStringSubmatch(line)
			msg := &f.messages[len(f.messages)-1]
			msg.fields = append(msg.fields, protoField{name: m[3], kind: m[2], repeated: m[1] != "", doc: take()})
		case in == "enum" && enumLine.MatchString(line):
			msg := &f.messages[len(f.messages)-1]
			msg.fields = append(msg.fields, protoField{name: enumLine.FindStringSubmatch(line)[1], doc: take()})
		default:
			return nil, fmt.Errorf("%s:%d: %q is in no form that is known here", path, n+1, line)
		}
	}
	return f, nil
}

// message returns a message of that name.
func (f *protoFile) message(name string) *protoMessage {
	for i := range f.messages {
		if f.messages[i].name == name {
			return &f.messages[i]
		}
	}
	return nil
}

// as writes the field's type.
func (f *protoField) as() string {
	kind := f.kind[strings.LastIndexByte(f.kind, '.')+1:]
	if f.repeated {
		return kind + " …"
	}
	return kind
}
