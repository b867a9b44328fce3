if [ -z "$LANG" ] && [ -r /etc/locale.conf ]; then
    . /etc/locale.conf
fi
LANG=${LANG:-C.UTF-8}
export LANG
