package rpm

// Tag is the number of a value in a header (rpm's docs/manual/tags.md).
type Tag uint32

// Regions and the first tag that is no region or table of rpm's own.
const (
	tagHeaderImage      Tag = 61 // what the trailers of old regions name
	tagHeaderSignatures Tag = 62
	tagHeaderImmutable  Tag = 63
	firstTag            Tag = 100
)

// Tags of the signature header. Those from 1000 on mean something else in a package's header.
const (
	sigDSA     Tag = 267  // OpenPGP, over the header
	sigRSA     Tag = 268  // OpenPGP, over the header
	sigSHA1    Tag = 269  // of the header, hexadecimal
	sigSHA256  Tag = 273  // of the header, hexadecimal
	sigOpenPGP Tag = 278  // rpm 6: OpenPGP, base64, over the header
	sigSize    Tag = 1000 // bytes of header and payload
	sigPGP     Tag = 1002 // OpenPGP, by RSA, over header and payload
	sigMD5     Tag = 1004 // of header and payload
	sigGPG     Tag = 1005 // OpenPGP, by DSA, over header and payload

	sigPayloadSize Tag = 1007 // bytes of the archive
)

// Tags of a package's header, and of that of an installed one.
const (
	TagSigSize                    Tag = 257
	TagSigPGP                     Tag = 259
	TagSigMD5                     Tag = 261
	TagSigGPG                     Tag = 262
	TagPubkeys                    Tag = 266
	TagSHA1Header                 Tag = 269
	TagName                       Tag = 1000
	TagVersion                    Tag = 1001
	TagRelease                    Tag = 1002
	TagEpoch                      Tag = 1003
	TagBuildTime                  Tag = 1006
	TagInstallTime                Tag = 1008
	TagSize                       Tag = 1009
	TagLicense                    Tag = 1014
	TagGroup                      Tag = 1016
	TagOS                         Tag = 1021
	TagArch                       Tag = 1022
	TagPreIn                      Tag = 1023
	TagPostIn                     Tag = 1024
	TagPreUn                      Tag = 1025
	TagPostUn                     Tag = 1026
	TagOldFilenames               Tag = 1027
	TagFileSizes                  Tag = 1028
	TagFileStates                 Tag = 1029
	TagFileModes                  Tag = 1030
	TagFileRDevs                  Tag = 1033
	TagFileMTimes                 Tag = 1034
	TagFileDigests                Tag = 1035
	TagFileLinkTos                Tag = 1036
	TagFileFlags                  Tag = 1037
	TagFileUserName               Tag = 1039
	TagFileGroupName              Tag = 1040
	TagSourceRPM                  Tag = 1044
	TagFileVerifyFlags            Tag = 1045
	TagArchiveSize                Tag = 1046
	TagProvideName                Tag = 1047
	TagRequireFlags               Tag = 1048
	TagRequireName                Tag = 1049
	TagRequireVersion             Tag = 1050
	TagConflictFlags              Tag = 1053
	TagConflictName               Tag = 1054
	TagConflictVersion            Tag = 1055
	TagTriggerScripts             Tag = 1065
	TagTriggerName                Tag = 1066
	TagTriggerVersion             Tag = 1067
	TagTriggerFlags               Tag = 1068
	TagTriggerIndex               Tag = 1069
	TagVerifyScript               Tag = 1079
	TagPreInProg                  Tag = 1085
	TagPostInProg                 Tag = 1086
	TagPreUnProg                  Tag = 1087
	TagPostUnProg                 Tag = 1088
	TagObsoleteName               Tag = 1090
	TagVerifyScriptProg           Tag = 1091
	TagTriggerScriptProg          Tag = 1092
	TagFileDevices                Tag = 1095
	TagFileInodes                 Tag = 1096
	TagFileLangs                  Tag = 1097
	TagPrefixes                   Tag = 1098
	TagInstPrefixes               Tag = 1099
	TagProvideFlags               Tag = 1112
	TagProvideVersion             Tag = 1113
	TagObsoleteFlags              Tag = 1114
	TagObsoleteVersion            Tag = 1115
	TagDirIndexes                 Tag = 1116
	TagBaseNames                  Tag = 1117
	TagDirNames                   Tag = 1118
	TagPayloadFormat              Tag = 1124
	TagPayloadCompressor          Tag = 1125
	TagInstallColor               Tag = 1127
	TagInstallTID                 Tag = 1128
	TagFileColors                 Tag = 1140
	TagFileDependsX               Tag = 1143
	TagFileDependsN               Tag = 1144
	TagDependsDict                Tag = 1145
	TagPreTrans                   Tag = 1151
	TagPostTrans                  Tag = 1152
	TagPreTransProg               Tag = 1153
	TagPostTransProg              Tag = 1154
	TagLongFileSizes              Tag = 5008
	TagLongSize                   Tag = 5009
	TagFileCaps                   Tag = 5010
	TagFileDigestAlgo             Tag = 5011
	TagPreInFlags                 Tag = 5020
	TagPostInFlags                Tag = 5021
	TagPreUnFlags                 Tag = 5022
	TagPostUnFlags                Tag = 5023
	TagPreTransFlags              Tag = 5024
	TagPostTransFlags             Tag = 5025
	TagVerifyFlags                Tag = 5026
	TagTriggerFlagsOf             Tag = 5027 // flags of the triggers' scripts
	TagOrderName                  Tag = 5035
	TagOrderVersion               Tag = 5036
	TagOrderFlags                 Tag = 5037
	TagRecommendName              Tag = 5046
	TagRecommendVersion           Tag = 5047
	TagRecommendFlags             Tag = 5048
	TagSuggestName                Tag = 5049
	TagSuggestVersion             Tag = 5050
	TagSuggestFlags               Tag = 5051
	TagSupplementName             Tag = 5052
	TagSupplementVersion          Tag = 5053
	TagSupplementFlags            Tag = 5054
	TagEnhanceName                Tag = 5055
	TagEnhanceVersion             Tag = 5056
	TagEnhanceFlags               Tag = 5057
	TagFileTriggerName            Tag = 5069
	TagTransFileTriggerName       Tag = 5079
	TagFileTriggerPriorities      Tag = 5084
	TagTransFileTriggerPriorities Tag = 5085
	TagPayloadDigest              Tag = 5092 // of the compressed payload, hexadecimal
	TagPayloadDigestAlgo          Tag = 5093
)
