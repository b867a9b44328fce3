package ext4

import (
	"fmt"
	"strings"
	"testing"
)

// TestFeatures has dumpe2fs say what each profile is: the lists are those of docs/architecture.md.
func TestFeatures(t *testing.T) {
	t.Parallel()
	for profile, want := range map[Profile]map[string]string{
		Modern: {
			"Filesystem features":   "has_journal ext_attr resize_inode dir_index filetype extent 64bit flex_bg sparse_super large_file huge_file dir_nlink extra_isize metadata_csum",
			"Group descriptor size": "64", "Required extra isize": "32", "Desired extra isize": "32", "Checksum type": "crc32c",
		},
		EL6: {
			"Filesystem features":   "has_journal ext_attr resize_inode dir_index filetype extent flex_bg sparse_super large_file huge_file uninit_bg dir_nlink extra_isize",
			"Group descriptor size": "", "Required extra isize": "28", "Desired extra isize": "28", "Checksum type": "",
		},
	} {
		i := makeImage(t, everyType(), options(profile, 2048*miB))
		got := map[string]string{}
		for line := range strings.Lines(run(t, "dumpe2fs", "-h", i.name)) {
			key, value, _ := strings.Cut(line, ":")
			got[key] = strings.TrimSpace(value)
		}
		l := i.layout
		for key, value := range map[string]string{
			"Filesystem volume name": "test", "Filesystem UUID": "deadbeef-0102-4004-8006-0708090a0b0c", "Directory Hash Seed": "01800304-0506-4708-890a-0b0c0d0e0f10",
			"Default directory hash": "half_md4", "Filesystem flags": "signed_directory_hash", "Filesystem state": "clean", "Errors behavior": "Continue",
			"Block size": "4096", "Inode size": "256", "Flex block group size": "16", "Inodes per group": "8192", "Maximum mount count": "-1",
			"Block count": fmt.Sprint(l.Blocks), "Free blocks": fmt.Sprint(l.FreeBlocks), "Reserved block count": fmt.Sprint(l.ReservedBlocks),
			"Inode count": fmt.Sprint(l.Inodes), "Free inodes": fmt.Sprint(l.FreeInodes), "First inode": "11", "Journal inode": "8",
			"Total journal size": "64M", "Default mount options": "user_xattr acl", "Filesystem created": got["Last write time"],
		} {
			want[key] = value
		}
		for key, value := range want {
			if got[key] != value {
				t.Errorf("%s: %s is %q, not %q", profiles[profile].name, key, got[key], value)
			}
		}
		// What resize_inode reserves is enough for 64 GiB and more, without moving anything.
		perBlock := BlockSize / profiles[profile].descSize
		var reserved int
		if _, err := fmt.Sscan(got["Reserved GDT blocks"], &reserved); err != nil || int64(reserved+1)*int64(perBlock)*blocksPerGroup*BlockSize < 64<<30 {
			t.Errorf("%s: %q reserved blocks of descriptors (%v)", profiles[profile].name, got["Reserved GDT blocks"], err)
		}
	}
}
