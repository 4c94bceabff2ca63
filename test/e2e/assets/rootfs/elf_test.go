package rootfs

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// elfFile returns a little ELF file that asks for a loader and libraries, and
// has no code.
func elfFile(t *testing.T, loader string, runpath string, needed ...string) string {
	t.Helper()
	strs := "\x00"
	str := func(s string) uint64 {
		at := len(strs)
		strs += s + "\x00"
		return uint64(at)
	}
	var dyn []elf.Dyn64
	for _, n := range needed {
		dyn = append(dyn, elf.Dyn64{Tag: int64(elf.DT_NEEDED), Val: str(n)})
	}
	if runpath != "" {
		dyn = append(dyn, elf.Dyn64{Tag: int64(elf.DT_RUNPATH), Val: str(runpath)})
	}
	dyn = append(dyn, elf.Dyn64{Tag: int64(elf.DT_NULL)})

	const headers = 64 + 56 // the file's and one program header
	interp := loader + "\x00"
	strOff := uint64(headers + len(interp))
	dynOff := strOff + uint64(len(strs))
	secOff := dynOff + uint64(len(dyn)*16)
	h := elf.Header64{
		Type: uint16(elf.ET_DYN), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Phoff: 64, Ehsize: 64, Phentsize: 56, Shoff: secOff, Shentsize: 64, Shnum: 3, Shstrndx: 1,
	}
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA], h.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
	if loader != "" {
		h.Phnum = 1
	}
	var b bytes.Buffer
	for _, part := range []any{
		h,
		elf.Prog64{Type: uint32(elf.PT_INTERP), Off: headers, Filesz: uint64(len(interp))},
		[]byte(interp), []byte(strs), dyn,
		elf.Section64{},
		elf.Section64{Type: uint32(elf.SHT_STRTAB), Off: strOff, Size: uint64(len(strs))},
		elf.Section64{Type: uint32(elf.SHT_DYNAMIC), Off: dynOff, Size: uint64(len(dyn) * 16), Link: 1, Entsize: 16},
	} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// debian lays out a tree: a content that begins with "->" is a link.
func debian(t *testing.T, files map[string]string) Debian {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(content, "->"); ok {
			err = os.Symlink(target, path)
		} else {
			err = os.WriteFile(path, []byte(content), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return Debian(root)
}

// added returns what the tree has beyond the empty one, without directories.
func added(tree *Tree) []string {
	empty := New()
	var paths []string
	for _, p := range tree.Paths() {
		if !empty.Has(p) && !tree.entries[p].mode.IsDir() {
			paths = append(paths, p)
		}
	}
	return paths
}

func TestCopyPrograms(t *testing.T) {
	const ld = "/lib64/ld-linux-x86-64.so.2"
	const lib = "usr/lib/x86_64-linux-gnu/"
	for name, tc := range map[string]struct {
		files   map[string]string
		program string
		want    []string
		wantErr string
	}{
		"a program brings its loader, its libraries and theirs": {
			files: map[string]string{
				"lib64": "->usr/lib64", "usr/lib64/ld-linux-x86-64.so.2": "->../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
				lib + "ld-linux-x86-64.so.2": elfFile(t, "", ""),
				lib + "liba.so.1":            "->liba.so.1.2.3",
				lib + "liba.so.1.2.3":        elfFile(t, "", "", "libc.so.6"),
				lib + "libc.so.6":            elfFile(t, "", "", "ld-linux-x86-64.so.2"),
				"usr/sbin/tool":              elfFile(t, ld, "", "liba.so.1"),
			},
			program: "tool",
			want: []string{
				"/" + lib + "ld-linux-x86-64.so.2", "/" + lib + "liba.so.1", "/" + lib + "liba.so.1.2.3", "/" + lib + "libc.so.6",
				"/usr/lib64/ld-linux-x86-64.so.2", "/usr/sbin/tool",
			},
		},
		"libraries that need each other end": {
			files: map[string]string{
				lib + "a.so":   elfFile(t, "", "", "b.so"),
				lib + "b.so":   elfFile(t, "", "", "a.so"),
				"usr/bin/tool": elfFile(t, "", "", "a.so"),
			},
			program: "tool",
			want:    []string{"/usr/bin/tool", "/" + lib + "a.so", "/" + lib + "b.so"},
		},
		"the program's own search path goes first": {
			files: map[string]string{
				"usr/lib/tool/a.so": elfFile(t, "", ""),
				lib + "a.so":        elfFile(t, "", ""),
				"usr/bin/tool":      elfFile(t, "", "/nowhere:$ORIGIN/../lib/tool", "a.so"),
			},
			program: "tool",
			want:    []string{"/usr/bin/tool", "/usr/lib/tool/a.so"},
		},
		"an alternative brings every link on the way, and absolute links stay inside": {
			files: map[string]string{
				"usr/sbin/iptables":          "->/etc/alternatives/iptables",
				"etc/alternatives/iptables":  "->/usr/sbin/iptables-nft",
				"usr/sbin/iptables-nft":      "->xtables-nft-multi",
				"usr/sbin/xtables-nft-multi": elfFile(t, "", ""),
			},
			program: "iptables",
			want:    []string{"/etc/alternatives/iptables", "/usr/sbin/iptables", "/usr/sbin/iptables-nft", "/usr/sbin/xtables-nft-multi"},
		},
		"a script needs no libraries": {
			files:   map[string]string{"usr/bin/tool": "#!/bin/sh\n"},
			program: "tool",
			want:    []string{"/usr/bin/tool"},
		},
		"a library that nobody has is named with who needs it": {
			files:   map[string]string{"usr/bin/tool": elfFile(t, "", "", "libgone.so.1")},
			program: "tool",
			wantErr: "/usr/bin/tool needs libgone.so.1",
		},
		"a program that is not there is named": {
			files:   map[string]string{"usr/bin/other": ""},
			program: "tool",
			wantErr: "no program tool",
		},
		"links in a circle end": {
			files:   map[string]string{"usr/bin/tool": "->tool"},
			program: "/usr/bin/tool",
			wantErr: "too many links",
		},
	} {
		t.Run(name, func(t *testing.T) {
			tree := New()
			err := tree.CopyPrograms(debian(t, tc.files), tc.program)
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Fatalf("error %v, want one with %q", err, tc.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(tc.want)
			if got := added(tree); !slices.Equal(got, tc.want) {
				t.Errorf("got  %v\nwant %v", got, tc.want)
			}
		})
	}
}

func TestCopyTreeTakesEverythingBelow(t *testing.T) {
	from := debian(t, map[string]string{
		"usr/share/x/a": "1", "usr/share/x/sub/b": "2", "usr/share/x/link": "->../y/c", "usr/share/y/c": "3", "usr/share/y/d": "4",
	})
	tree := New()
	if err := tree.CopyTree(from, "/usr/share/x"); err != nil {
		t.Fatal(err)
	}
	want := []string{"/usr/share/x/a", "/usr/share/x/link", "/usr/share/x/sub/b", "/usr/share/y/c"}
	if got := added(tree); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
