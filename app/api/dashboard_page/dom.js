// Elements from plain values. Text is only ever set as text: names and messages come from outside (no innerHTML).

const SVG = "http://www.w3.org/2000/svg";

/** The element of the page with that id. */
function byId(id) {
  return document.getElementById(id);
}

/**
 * An element with its attributes and children; strings and numbers become text, null and undefined are left out.
 * An attribute that is null or false is left out, one that is true is empty.
 */
function element(tag, attributes = {}, ...children) {
  return withParts(document.createElement(tag), attributes, children);
}

/** The same in an SVG. */
function shape(tag, attributes = {}, ...children) {
  return withParts(document.createElementNS(SVG, tag), attributes, children);
}

function withParts(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** Sets a text, if it is another one: so a selection in it survives, and screen readers are not told again. */
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
