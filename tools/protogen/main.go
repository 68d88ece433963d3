// Command protogen turns the protobuf files below chain/proto into Go and into the description of the REST
// interface. It needs neither protoc nor a registry: it compiles the files itself, finds imports in the module
// cache, and speaks to the usual plugins over their standard input.
//
//	go run -C tools ./protogen -root ..
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

const module = "github.com/cairn-network/cairn/"

// A plugin is a program that answers a CodeGeneratorRequest with files.
type plugin struct {
	pkg, name string
	option    string
	together  bool                         // whether it takes all packages in one request
	place     func(name string) string     // where, below the root, a file of its answer goes
	finish    func(string) (string, error) // the last touch to a file; nil for none
}

func inModule(name string) string { return strings.TrimPrefix(name, module) }

var plugins = []plugin{
	{"github.com/cosmos/gogoproto/protoc-gen-gocosmos", "protoc-gen-gocosmos",
		"plugins=grpc,Mgoogle/protobuf/any.proto=github.com/cosmos/gogoproto/types/any", false, inModule, nil},
	{"github.com/grpc-ecosystem/grpc-gateway/protoc-gen-grpc-gateway", "protoc-gen-grpc-gateway",
		"logtostderr=true,allow_colon_final_segments=true", false, inModule, undocument},
	{"github.com/grpc-ecosystem/grpc-gateway/v2/protoc-gen-openapiv2", "protoc-gen-openapiv2",
		"logtostderr=true,allow_merge=true,merge_file_name=cairn,json_names_for_fields=false,simple_operation_ids=false,openapi_naming_strategy=fqn",
		true, func(string) string { return "chain/app/openapi/openapi.json" }, describe},
}

// includes are the folders of other modules in which imports are found.
var includes = []struct{ module, folder string }{
	{"github.com/cosmos/cosmos-sdk", "proto"},
	{"github.com/cosmos/gogoproto", "."},
	{"github.com/cosmos/cosmos-proto", "proto"},
	{"github.com/grpc-ecosystem/grpc-gateway", "third_party/googleapis"},
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("protogen: ")
	root := flag.String("root", "..", "the repository")
	flag.Parse()
	if err := run(context.Background(), *root); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, root string) error {
	sources := filepath.Join(root, "chain", "proto")
	names, err := list(sources)
	if err != nil {
		return err
	}
	paths := []string{sources}
	for _, inc := range includes {
		cmd := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", inc.module)
		cmd.Dir, cmd.Stderr = root, os.Stderr
		dir, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("find module %s: %w", inc.module, err)
		}
		paths = append(paths, filepath.Join(strings.TrimSpace(string(dir)), inc.folder))
	}
	c := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: paths}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := c.Compile(ctx, names...)
	if err != nil {
		return err
	}
	bin, err := os.MkdirTemp("", "protogen")
	if err != nil {
		return err
	}
	defer os.RemoveAll(bin)
	for _, p := range plugins {
		if err := p.build(bin); err != nil {
			return fmt.Errorf("build %s: %w", p.name, err)
		}
		requests := folders(names)
		if p.together {
			requests = [][]string{names}
		}
		for _, names := range requests {
			if err := p.run(root, bin, names, order(files)); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	return nil
}

// folders groups sorted names by their folder.
func folders(names []string) (groups [][]string) {
	for i, name := range names {
		if i == 0 || filepath.Dir(name) != filepath.Dir(names[i-1]) {
			groups = append(groups, nil)
		}
		groups[len(groups)-1] = append(groups[len(groups)-1], name)
	}
	return groups
}

// list returns the protobuf files below dir, relative to it.
func list(dir string) (names []string, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".proto") {
			rel, _ := filepath.Rel(dir, path)
			names = append(names, filepath.ToSlash(rel))
		}
		return err
	})
	slices.Sort(names)
	return names, err
}

// order returns the descriptors of files and of all they import, each after what it imports.
func order(files linker.Files) []*descriptorpb.FileDescriptorProto {
	var (
		out  []*descriptorpb.FileDescriptorProto
		seen = map[string]bool{}
		add  func(protoreflect.FileDescriptor)
	)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
		out = append(out, protoutil.ProtoFromFileDescriptor(f))
	}
	for _, f := range files {
		add(f)
	}
	return out
}

// undocument takes the package comment out of a generated file: each package has one of its own.
func undocument(text string) (string, error) {
	head, rest, found := strings.Cut(text, "/*\n")
	_, rest, closed := strings.Cut(rest, "*/\n")
	if !found || !closed {
		return text, nil
	}
	return head + rest, nil
}

// describe gives the description of the REST interface a title, and each operation a name of its own: the
// plugin names them after their method alone, which several modules have.
func describe(text string) (string, error) {
	var doc map[string]any
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		return "", fmt.Errorf("its description: %w", err)
	}
	doc["info"] = map[string]any{"title": "Cairn ledger", "version": "v1"}
	delete(doc, "tags")
	paths, _ := doc["paths"].(map[string]any)
	for path, item := range paths {
		folder := strings.Split(path, "/")[2] // /cairn/device/v1/…
		operations, _ := item.(map[string]any)
		for _, op := range operations {
			op, _ := op.(map[string]any)
			id, _ := op["operationId"].(string)
			op["operationId"] = folder + strings.TrimPrefix(id, "Query_")
			op["tags"] = []string{folder}
		}
	}
	out, err := json.MarshalIndent(doc, "", "  ")
	return string(out) + "\n", err
}

func (p plugin) build(bin string) error {
	cmd := exec.Command("go", "build", "-o", filepath.Join(bin, p.name), p.pkg)
	cmd.Stderr = os.Stderr
	return cmd.Run()
}

func (p plugin) run(root, bin string, names []string, files []*descriptorpb.FileDescriptorProto) error {
	request, err := proto.MarshalOptions{Deterministic: true}.Marshal(&pluginpb.CodeGeneratorRequest{
		FileToGenerate: names, Parameter: &p.option, ProtoFile: files,
	})
	if err != nil {
		return err
	}
	var stdout bytes.Buffer
	cmd := exec.Command(filepath.Join(bin, p.name))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(request), &stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return err
	}
	var response pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(stdout.Bytes(), &response); err != nil {
		return fmt.Errorf("its answer: %w", err)
	}
	if response.Error != nil {
		return fmt.Errorf("%s", *response.Error)
	}
	for _, f := range response.File {
		content := f.GetContent()
		if p.finish != nil {
			if content, err = p.finish(content); err != nil {
				return err
			}
		}
		path := filepath.Join(root, p.place(f.GetName()))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}
